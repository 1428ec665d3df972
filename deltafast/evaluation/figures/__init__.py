"""Pictures of a report: edit sheets, curves, and plots of latents and of Δ."""

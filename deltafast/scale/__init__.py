"""More faces than one machine holds: editing and projecting through Ray Data, in an index of what became of each."""

from deltafast.scale.index import index_rows, read_index
from deltafast.scale.jobs import EditJob, ProjectJob
from deltafast.scale.run import RayOptions, run_job
from deltafast.scale.samples import Sample
from deltafast.scale.worker import FaceWorker

__all__ = ["EditJob", "FaceWorker", "ProjectJob", "RayOptions", "Sample", "index_rows", "read_index", "run_job"]

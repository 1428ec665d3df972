// While a slider moves, its pictures come straight from the app, one request at a time, always for the newest place;
// once the hand rests, the page's own events make the edit exact.
(() => {
  const PAUSE = 250; // milliseconds
  let busy = false, again = false, resting = 0, address = '';
  const value = (selector) => document.querySelector(selector)?.value ?? '';

  function state() {
    const boxes = [...document.querySelectorAll('#df-edits input[type=number]')];
    return JSON.stringify({
      key: value('#df-key textarea, #df-key input'),
      mode: value('#df-mode input:checked'),
      view: value('#df-which input:checked'),
      values: boxes.map((box) => Number(box.value)),
    });
  }

  async function show(answer) {
    const image = document.querySelector('#df-after img');
    if (!image || answer.status !== 200) return;
    const before = address;
    address = URL.createObjectURL(await answer.blob());
    image.src = address;
    await image.decode().catch(() => {});
    URL.revokeObjectURL(before);
  }

  async function move() {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        const headers = { 'content-type': 'application/json' };
        await show(await fetch('moves', { method: 'POST', headers, body: state() }));
      }
    } finally {
      busy = false;
    }
  }

  function rest() {
    if (busy) resting = setTimeout(rest, 50);
    else document.querySelector('#df-rest')?.click();
  }

  document.addEventListener('input', (event) => {
    if (!event.target.closest?.('#df-edits .df-dial')) return;
    clearTimeout(resting);
    resting = setTimeout(rest, PAUSE);
    setTimeout(move); // when the slider and its number agree
  }, true);
})();

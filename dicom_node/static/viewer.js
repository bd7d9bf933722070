// One series as a stack: slider, arrow keys, wheel, window presets. Without it the form reloads the page.
"use strict";

const stage = document.getElementById("stage");
if (stage) {
  const frames = stage.dataset.frames.split(" ");
  const picture = document.getElementById("picture");
  const slider = document.getElementById("slice");
  const place = document.getElementById("place");
  const windowShown = document.getElementById("window-shown");
  const play = document.getElementById("play");
  const description = picture.alt.replace(/^Image \d+ of \d+/, "");
  const ahead = new Map();
  let timer = null;
  let asked = 0;
  let shown = 0;

  const chosenWindow = () => {
    const chosen = stage.querySelector("input[name=window]:checked");
    return chosen ? chosen.value : "";
  };
  const address = (index) => {
    const preset = chosenWindow();
    return `${stage.dataset.base}/${frames[index]}/rendered${preset ? `?window=${preset}` : ""}`;
  };
  const windowText = () => {
    const [center, width] = chosenWindow().split(",");
    return width ? `C ${center} W ${width}` : "as recorded";
  };
  const fetchAhead = (index) => {
    for (const near of [index + 1, index - 1, index + 2, index + 3]) {
      if (near < 0 || near >= frames.length) continue;
      const url = address(near);
      if (ahead.has(url)) continue;
      const image = new Image();
      image.src = url;
      ahead.set(url, image);
      if (ahead.size > 200) ahead.delete(ahead.keys().next().value);
    }
  };
  // Number and window change with the picture and not before: what stands beside it is true of what is seen.
  const show = (index) => {
    const bounded = Math.min(Math.max(index, 0), frames.length - 1);
    slider.value = bounded + 1;
    const url = address(bounded);
    const chosen = windowText();
    const turn = ++asked;
    const next = ahead.get(url) || new Image();
    if (!next.src) next.src = url;
    next.decode().then(() => {
      if (turn < shown) return;
      shown = turn;
      picture.src = url;
      picture.alt = `Image ${bounded + 1} of ${frames.length}${description}`;
      place.textContent = `${bounded + 1} / ${frames.length}`;
      windowShown.textContent = chosen;
      fetchAhead(bounded);
    }, () => {
      if (turn < shown) return;
      shown = turn;
      picture.alt = `Image ${bounded + 1} of ${frames.length} cannot be shown`;
      picture.removeAttribute("src");
      place.textContent = picture.alt;
    });
  };
  const current = () => Number(slider.value) - 1;

  slider.addEventListener("input", () => show(current()));
  stage.addEventListener("change", (event) => {
    if (event.target.name !== "window") return;
    show(current());
  });
  stage.addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return;
    const step = { ArrowDown: 1, ArrowRight: 1, PageDown: 10, ArrowUp: -1, ArrowLeft: -1, PageUp: -10 }[event.key];
    if (event.key === "Home") show(0);
    else if (event.key === "End") show(frames.length - 1);
    else if (step) show(current() + step);
    else return;
    event.preventDefault();
  });
  stage.querySelector(".light").addEventListener("wheel", (event) => {
    event.preventDefault();
    show(current() + Math.sign(event.deltaY));
  }, { passive: false });

  if (frames.length > 1) {
    play.hidden = false;
    play.addEventListener("click", () => {
      const running = timer !== null;
      clearInterval(timer);
      timer = running ? null : setInterval(() => show((current() + 1) % frames.length), 120);
      play.textContent = running ? "Play" : "Pause";
      play.setAttribute("aria-pressed", String(!running));
    });
  }
  for (const button of stage.querySelectorAll("[data-without-script]")) button.hidden = true;
  fetchAhead(current());
}

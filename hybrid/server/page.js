// Images in, cards out. Whatever a file or a model is called goes through textContent, and so is text.
const AT_ONCE = 4, MOST_CLASSES = 5, MOST_TRIES = 30;
const byId = id => document.getElementById(id);
const told = fetch("/model").then(answer => answer.json());
const waiting = [];
let running = 0;
// Heat maps come one after the other, and switched on or off as the last one was.
let heats = Promise.resolve(), whyShown = true;

for (const id of ["files", "camera"]) {
  byId(id).addEventListener("change", event => { add(event.target.files); event.target.value = ""; });
}
document.addEventListener("paste", event => add(event.clipboardData.files));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, event => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}

const model = await told;
byId("name").textContent = model.name;
byId("about").textContent = about(model);
byId("limits").textContent = `Up to ${model.megabytes} MB an image. JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or PPM.`
  + (model.explains ? "" : " This model has no heat maps: its features are no means over the places of a picture.");

function about({ classes, accuracy }) {
  const share = value => (100 * value).toFixed(1);
  const parts = [`${classes.length} classes: ${classes.slice(0, 12).join(", ")}${classes.length > 12 ? ", …" : ""}`];
  if (accuracy) parts.push(`right in ${share(accuracy.mean)} % of cross-validated cases (${share(accuracy.low)} to ${share(accuracy.high)})`);
  return parts.join(" · ");
}

function add(files) {
  for (const file of [...files].reverse()) {
    const card = byId("card").content.firstElementChild.cloneNode(true);
    const image = card.querySelector(".photo");
    image.src = URL.createObjectURL(file);
    image.onload = () => URL.revokeObjectURL(image.src);
    // Browsers show no TIFF.
    image.onerror = () => { image.hidden = true; };
    card.querySelector(".file").textContent = file.name;
    byId("results").prepend(card);
    waiting.unshift([file, card]);
  }
  work();
}

async function work() {
  while (waiting.length && running < AT_ONCE) {
    running += 1;
    predict(...waiting.shift()).finally(() => { running -= 1; work(); });
  }
  const left = waiting.length + running;
  byId("status").textContent = left ? `Waiting for ${left} …` : "";
}

async function predict(file, card) {
  try {
    // Files may come before the model is known.
    await told;
    if (file.size > model.megabytes * 2 ** 20) throw new Error(`The file is over the limit of ${model.megabytes} MB.`);
    const found = await (await ask("/predict", file)).json();
    show(card, found.predictions[0]);
    if (model.explains) heats = heats.then(() => explain(file, card, String(found.predictions[0].label)));
  } catch (error) {
    card.classList.add("bad");
    card.querySelector(".verdict").textContent = "No prediction";
    card.querySelector(".says").textContent = error.message;
  }
}

async function explain(file, card, label) {
  try {
    const answer = await ask(`/explain?label=${encodeURIComponent(label)}`, file);
    const figure = card.querySelector(".why"), heat = figure.querySelector("img"), choice = card.querySelector(".switch");
    heat.src = URL.createObjectURL(await answer.blob());
    heat.onload = () => URL.revokeObjectURL(heat.src);
    heat.alt = `Heat map over ${file.name}: what speaks for ${label} and what against it`;
    figure.querySelector("figcaption").textContent = `Orange speaks for ${label}, blue against it.`;
    const turn = () => {
      figure.hidden = !choice.firstChild.checked;
      card.querySelector(".photo").classList.toggle("replaced", !figure.hidden);
    };
    choice.firstChild.checked = whyShown;
    choice.firstChild.addEventListener("change", () => { whyShown = choice.firstChild.checked; turn(); });
    choice.hidden = false;
    turn();
  } catch (error) {
    const line = card.querySelector(".unexplained");
    line.textContent = `No heat map: ${error.message}`;
    line.hidden = false;
  }
}

async function ask(path, file) {
  const form = new FormData();
  form.append("file", file);
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const answer = await fetch(path, { method: "POST", body: form });
    if (answer.ok) return answer;
    const { files, error } = await answer.json();
    if (answer.status !== 503) throw new Error(files?.map(one => one.reason).join("; ") ?? error);
    await new Promise(done => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") ?? 1)));
  }
  throw new Error("The server is too busy.");
}

function show(card, found) {
  const unlike = found["none of these"], label = String(found.label);
  card.querySelector(".verdict").textContent = unlike ? "None of these" : label;
  card.querySelector(".says").textContent = unlike
    ? `It is unlike all training images. If it had to be one of the classes: ${label}${sure(found)}.`
    : found.probability === undefined ? "" : `${percent(found.probability)} probable`;
  if (found.probabilities) {
    const best = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]).slice(0, MOST_CLASSES);
    fill(card, ".classes", "dl", best.map(([name, probability]) => row(name, probability)));
  }
  if (found.set && !unlike) {
    fill(card, ".sets", "ul", found.set.map(one => element("li", String(one))));
    card.querySelector(".sets h3").textContent =
      `One of these ${found.set.length > 1 ? found.set.length + " " : ""}in ${(100 * model.coverage).toFixed(0)} of 100 such cases`;
  }
  if (found.neighbours) {
    fill(card, ".neighbours", "ol", found.neighbours.map(one =>
      element("li", `${one.label} · ${one.image} · ${one.distance.toFixed(3)}`)));
  }
}

function sure(found) {
  return found.probability === undefined ? "" : ` (${percent(found.probability)})`;
}

function fill(card, place, list, items) {
  card.querySelector(place).hidden = false;
  card.querySelector(`${place} ${list}`).replaceChildren(...items);
}

function row(name, probability) {
  const group = document.createElement("div"), bar = document.createElement("dd");
  bar.className = "bar";
  // The number stands beside it.
  bar.setAttribute("aria-hidden", "true");
  bar.append(document.createElement("i"));
  bar.firstChild.style.width = `${100 * probability}%`;
  group.append(element("dt", name), bar, element("dd", percent(probability)));
  return group;
}

function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

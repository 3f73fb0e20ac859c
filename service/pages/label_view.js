// Draws a session. All text goes in as text, never as markup.

export const REASONS = {
  doubt: "The model is close to its threshold: it cannot tell.",
  disagreement: "The models inside the ensemble contradict each other.",
  "likely positive": "Probably yes, and examples of this class are rare.",
  "doubtful merchant label": "The merchant says one thing, the model the other.",
  audit: "A random check, so that quality can be measured fairly.",
  "your addition": "Nobody asked: you added it.",
};
export const SKIP_REASONS = ["image missing", "text and image do not match", "not a product", "cannot be judged"];
const ANSWERS = { yes: "Yes", no: "No", unsure: "Unsure" };
const IMAGE_STARTS = { "/9j/": "jpeg", iVBOR: "png", UklGR: "webp" };

export const element = (id) => document.getElementById(id);
export const words = (className) => className.replaceAll("_", " ");

export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("data-") || name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function show(...ids) {
  for (const id of ["start", "work", "done"]) element(id).hidden = !ids.includes(id);
  for (const id of ["tools", "thumbs"]) element(id).hidden = !ids.includes("work");
}

export function drawBar(session, waiting) {
  const rate = session.ratePerMinute(Date.now());
  const parts = [`${session.nTasks} done`, `${session.nAnswers} ${session.nAnswers === 1 ? "answer" : "answers"}`];
  if (rate !== null) parts.push(`${Math.round(rate)} a minute`);
  if (waiting !== null) parts.push(`${waiting.toLocaleString("en")} waiting`);
  const left = session.tasks.length;
  element("count").replaceChildren(...parts.map(countPart));
  element("progress").value = session.batch ? (session.batch - left) / session.batch : 0;
  const unsent = session.outbox.length;
  element("unsent").hidden = unsent < 2 && !session.stuck;
  element("unsent").textContent = `${unsent} not sent yet`;
  element("blind").setAttribute("aria-pressed", session.blind);
  element("undo").disabled = session.steps.length === 0;
}

function countPart(part) {
  const [number, ...unit] = part.split(" ");
  return make("span", {}, make("b", { textContent: number }), ` ${unit.join(" ")}`);
}

export function drawProduct(task, fields) {
  const place = element("product");
  if (place.dataset.task === task.task_id) return;
  place.dataset.task = task.task_id;
  const texts = textColumns(task.product, fields);
  const [title, ...others] = texts.map((column) => task.product[column]).filter(Boolean);
  place.replaceChildren(
    picture(task.product, fields),
    make(
      "div",
      { className: "facts" },
      make("h1", { textContent: title || "No title", className: title ? "" : "missing" }),
      ...others.map((text) => make("p", { textContent: text, className: "description" })),
      factTable(task.product, [...texts, imageColumn(task.product, fields)], fields),
    ),
  );
  window.scrollTo(0, 0);
}

function picture(product, fields) {
  const column = imageColumn(product, fields);
  const value = product[column] ?? product[`${column}_url`];
  const nothing = make("div", { className: "picture none" }, make("span", { textContent: "no image" }));
  const source = imageSource(value);
  if (!source) return nothing;
  const image = make("img", { src: source, alt: "Product", decoding: "async" });
  image.addEventListener("error", () => image.closest(".picture").replaceWith(nothing));
  return make("div", { className: "picture" }, image);
}

function imageSource(value) {
  if (typeof value !== "string") return null;
  if (/^(https?:\/\/|data:image\/)/.test(value)) return value;
  const start = Object.keys(IMAGE_STARTS).find((prefix) => value.startsWith(prefix));
  return start ? `data:image/${IMAGE_STARTS[start]};base64,${value}` : null;
}

function imageColumn(product, fields) {
  if (fields) return fields.image;
  return Object.keys(product).find((column) => imageSource(product[column])?.startsWith("data:"));
}

function textColumns(product, fields) {
  if (fields) return fields.text;
  return ["title", "name", "description"].filter((column) => column in product);
}

function factTable(product, shownElsewhere, fields) {
  const rows = Object.entries(product).filter(
    ([column, value]) => !shownElsewhere.includes(column) && value !== null && value !== "" && value !== undefined,
  );
  const isId = (column) => column === (fields ? fields.id : "product_id");
  rows.sort(([left], [right]) => isId(left) - isId(right));
  const cells = rows.map(([column, value]) => [
    make("dt", { textContent: words(column) }),
    make("dd", { textContent: Array.isArray(value) ? value.join(", ") : String(value) }),
  ]);
  return make("dl", { className: "fields" }, ...cells.flatMap((pair) => [...pair, " "])); // lines may break there
}

export function drawQuestions(session, choose, thresholds) {
  const open = session.nOpen;
  element("lead").textContent = open
    ? `Is this product …? ${open === 1 ? "One question" : `${open} questions`} left`
    : "All answered: Enter sends";
  element("questions").replaceChildren(
    ...session.questions.map((question, index) => drawQuestion(session, question, index, choose, thresholds)),
  );
  element("send").classList.toggle("ready", open === 0);
  element("thumbs").classList.toggle("ready", open === 0);
  element("send").disabled = Object.keys(session.current.answers).length === 0;
  const marked = element("questions").children[session.marked];
  marked?.scrollIntoView({ block: "nearest" });
}

function drawQuestion(session, question, index, choose, thresholds) {
  const given = session.current.answers[question.class];
  const isMarked = index === session.marked;
  const buttons = Object.entries(ANSWERS).map(([value, label]) => {
    const button = make(
      "button",
      { type: "button", className: value, "aria-pressed": String(given === value), "data-answer": value },
      make("span", { textContent: label }),
      make("kbd", { textContent: label[0] }),
    );
    button.addEventListener("click", () => choose(index, value));
    return button;
  });
  const row = make(
    "li",
    { className: `question ${isMarked ? "marked" : ""} ${given ? `given ${given}` : ""}`, "data-class": question.class },
    make("div", { className: "asked" }, make("b", { textContent: words(question.class), title: question.class }), opinion(session, question, thresholds)),
    make("div", { className: "answers", role: "group", "aria-label": words(question.class) }, ...buttons),
  );
  if (isMarked) row.setAttribute("aria-current", "true");
  row.addEventListener("click", (event) => event.target.closest("button") || choose(index, null));
  return row;
}

export const reasonChip = (reason) =>
  make("span", { className: `reason ${reason.replaceAll(" ", "-")}`, textContent: reason, title: REASONS[reason] || "" });

function opinion(session, { class: name, reason, probability }, thresholds) {
  if (session.blind) return null;
  const chip = reasonChip(reason);
  if (probability === null) return make("span", { className: "opinion" }, chip);
  const percent = `${Math.round(probability * 100)} %`;
  const filled = make("span");
  filled.style.width = `${probability * 100}%`;
  const threshold = thresholds[name];
  const yesFrom = threshold === undefined ? "" : `; yes from ${Math.round(threshold * 100)} %`;
  const meter = make("span", { className: "meter", title: `The model says ${percent}${yesFrom}`, "aria-hidden": "true" }, filled);
  if (threshold !== undefined) {
    const mark = make("i");
    mark.style.left = `${threshold * 100}%`;
    meter.append(mark);
  }
  const said = make("span", { className: "said" }, meter, make("span", { textContent: percent }));
  return make("span", { className: "opinion" }, chip, said);
}

let toastTimer = 0;

export function toast(message, kind = "") {
  const place = element("toast");
  place.textContent = message;
  place.className = `toast shown ${kind}`;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => place.classList.remove("shown"), 4000);
}

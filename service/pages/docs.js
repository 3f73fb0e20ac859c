// The try-it form: posts what is in the text area and draws the answer; whatever came from outside is set as text.
"use strict";

const form = document.querySelector("#try");
const body = document.querySelector("#body");
const picture = document.querySelector("#picture");
const answer = document.querySelector("#answer");
const raw = document.querySelector("#raw");

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function probabilityRow(name, probability, isPositive) {
  const row = element("div", undefined, isPositive ? "probability positive" : "probability");
  const meter = element("meter");
  meter.value = probability;
  meter.setAttribute("aria-label", name);
  row.append(element("span", name), meter, element("span", probability.toFixed(3)));
  return row;
}

function drawResult(result) {
  const section = element("section");
  section.append(element("h3", result.product_id));
  const doubt = `uncertainty ${result.uncertainty.toFixed(2)} bits, disagreement ${result.disagreement.toFixed(2)} bits`;
  const abstained = result.abstained.length ? `; abstained: ${result.abstained.join(", ")}` : "";
  section.append(element("p", doubt + abstained, "faint"));
  for (const warning of result.warnings || []) {
    section.append(element("p", `${warning.field}: ${warning.detail}`, "warning"));
  }
  const sorted = Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [name, probability] of sorted.slice(0, 12)) {
    section.append(probabilityRow(name, probability, result.positive.includes(name)));
  }
  return section;
}

async function post() {
  const started = performance.now();
  const response = await fetch("classify", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: body.value,
  });
  const content = await response.json();
  const took = Math.round(performance.now() - started);
  answer.replaceChildren(element("p", `${response.status} in ${took} ms`, "faint"));
  if (response.ok) answer.append(...content.results.map(drawResult));
  else answer.append(element("p", content.detail, "warning"));
  raw.textContent = JSON.stringify(content, null, 2);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await post();
  } catch (error) {
    answer.replaceChildren(element("p", `no answer: ${error.message}`, "warning"));
  } finally {
    button.disabled = false;
  }
});

if (picture) {
  picture.addEventListener("change", () => {
    const reader = new FileReader();
    reader.addEventListener("load", () => {
      try {
        const request = JSON.parse(body.value);
        request.products[0][picture.dataset.field] = reader.result.split(",")[1];
        body.value = JSON.stringify(request, null, 2);
      } catch {
        answer.replaceChildren(element("p", "the request is no JSON with products", "warning"));
      }
    });
    if (picture.files.length) reader.readAsDataURL(picture.files[0]);
  });
}

// The labelling page: sign in, lease, answer by keyboard or thumb, send, and never lose an answer.

import * as client from "./label_client.js";
import { Session } from "./label_session.js";
import { drawBar, drawProduct, drawQuestions, element, make, reasonChip, REASONS, show, SKIP_REASONS, toast, words } from "./label_view.js";

const N_TASKS = 10; // a lease: few enough to give back, many enough not to wait
const N_AHEAD = 3; // lease again when so few are left
const EXTEND_MS = 120_000;
const RETRY_MS = [1000, 2000, 5000, 10_000, 30_000];
const NAME = "winnow-annotator";

let session = null;
let fields = null;
let classes = [];
let thresholds = {}; // class: probability from which the model says yes
let waiting = null; // tasks in the queue
let leasing = false;
let exhausted = false;
let flushing = false;
let retryTimer = 0;
let resumeTimer = 0;
let nFailures = 0;
let lastActive = Date.now();
let partialFor = null; // task whose unanswered questions were pointed out

async function boot() {
  wire();
  client.model().then(setModel, () => {});
  const stored = Session.stored();
  element("annotator").value = localStorage.getItem(NAME) || "";
  if (stored) {
    element("start-blind").checked = stored.blind;
    element("second").checked = stored.overlap > 1;
  }
  if (stored && (stored.tasks.length || stored.outbox.length)) await resume(stored);
  else await welcome();
}

function setModel({ fields: servedFields, taxonomy, thresholds: served }) {
  thresholds = served;
  fields = servedFields;
  classes = taxonomy.classes;
  delete element("product").dataset.task;
  if (session?.current) draw();
}

async function welcome() {
  show("start");
  element(element("annotator").value ? "begin" : "annotator").focus();
  try {
    await refreshStats();
    element("waiting").textContent = `${waiting.toLocaleString("en")} products are waiting, the most useful ones first.`;
  } catch (error) {
    if (error.status === 401) askForKey();
  }
}

async function start() {
  client.setAccessKey(element("key").value);
  const annotator = element("annotator").value.trim();
  if (!annotator) return;
  localStorage.setItem(NAME, annotator);
  clearTimeout(resumeTimer);
  const chosen = { annotator, overlap: element("second").checked ? 2 : 1, blind: element("start-blind").checked };
  const stored = Session.stored();
  if (!session && stored?.annotator === annotator && stored.tasks.length) await resume({ ...stored, ...chosen });
  else await begin(chosen, stored);
}

async function begin(chosen, stored) {
  session = new Session(chosen);
  if (stored) session.takeOver(stored);
  flush();
  await leaseMore();
}

async function resume(stored) {
  const tokens = [...new Set(stored.tasks.map((entry) => entry.token))];
  const leases = await Promise.all(tokens.map((token) => extendOrNothing(stored.annotator, token)));
  if (session) return; // begun meanwhile
  if (leases.includes(null)) {
    clearTimeout(resumeTimer);
    resumeTimer = setTimeout(() => resume(stored), RETRY_MS[1]);
    if (element("start").hidden) await welcome();
    return;
  }
  session = Session.restored(stored, leases);
  const kept = session.tasks.reduce((sum, entry) => sum + Object.keys(entry.answers).length, 0);
  if (kept) toast(`Welcome back: ${kept} unsent ${kept === 1 ? "answer is" : "answers are"} still here`);
  flush();
  await leaseMore();
}

async function extendOrNothing(annotator, token) {
  try {
    return await client.extend(annotator, token, true);
  } catch (error) {
    if (!error.passes && error.status !== 401) return { tasks: [] };
    if (error.status === 401) askForKey();
    sayAtStart(error);
    return null;
  }
}

async function leaseMore() {
  if (leasing) return;
  leasing = true;
  try {
    const lease = await client.lease(session.annotator, N_TASKS, session.overlap);
    exhausted = lease.tasks.length === 0;
    if (!session.tasks.length) session.batch = 0;
    session.add(lease);
    element("start-error").hidden = true;
  } catch (error) {
    complain(error);
    return;
  } finally {
    leasing = false;
  }
  draw();
  refreshStats().then(draw, () => {});
}

async function refreshStats() {
  const stats = await client.stats();
  waiting = stats.open;
}

function complain(error) {
  if (error.status === 401) askForKey();
  if (session?.current) {
    toast(error.message, "bad");
    draw();
    return;
  }
  if (!session?.outbox.length) session = null; // else it is still to be sent, and `flush` tries again
  show("start");
  sayAtStart(error);
}

function sayAtStart(error) {
  element("start-error").textContent = error.message;
  element("start-error").hidden = false;
}

function askForKey() {
  element("key-row").hidden = false;
  element("key").focus();
}

function draw() {
  if (!session) return;
  drawBar(session, waiting);
  if (!session.current) {
    if (leasing) return;
    show("done");
    element("done-text").textContent = session.nTasks
      ? `You labelled ${session.nTasks} products with ${session.nAnswers} answers. New questions come with the traffic.`
      : "Nothing to ask right now. New questions come with the traffic.";
    element("again").focus();
    return;
  }
  show("work");
  drawProduct(session.current.task, fields);
  drawQuestions(session, choose, thresholds);
}

function choose(index, value) {
  session.mark(index);
  if (value) session.answer(session.questions[index].class, value);
  draw();
}

function answer(value) {
  choose(session.marked, value);
}

function send() {
  if (!Object.keys(session.current.answers).length) {
    toast("Answer with Y, N or U first, or skip with S");
    return;
  }
  const id = session.current.task.task_id;
  if (session.nOpen && partialFor !== id) {
    partialFor = id;
    toast(`${session.nOpen} unanswered: Enter again sends what there is`);
    return;
  }
  session.send();
  advance();
}

function skip(reason) {
  element("skip-dialog").close();
  session.skip(reason);
  toast(`Skipped: ${reason}. Z takes it back`);
  advance();
}

function advance() {
  partialFor = null;
  if (waiting) waiting -= 1;
  flush();
  draw();
  if (session.tasks.length <= N_AHEAD && !exhausted) leaseMore();
  else if (!session.tasks.length) leaseMore();
}

function undo() {
  if (!session.undo()) toast("Nothing to take back");
  draw();
}

async function flush() {
  if (flushing || !session) return;
  clearTimeout(retryTimer);
  flushing = true;
  while (session.outbox.length && (await sendOne(session.outbox[0])));
  flushing = false;
  drawBar(session, waiting);
}

// Returns whether the next one may follow at once.
async function sendOne(entry) {
  entry.inFlight = true;
  try {
    await client.submit(entry.annotator, entry.token, entry.label, entry.key);
  } catch (error) {
    if (error.passes || error.status === 401) {
      retryLater(entry, error);
      return false;
    }
    toast(error.status === 409 ? "Somebody else has taken that product over; your answer was not needed" : error.message, "bad");
  }
  nFailures = 0;
  session.stuck = false;
  session.sent(entry);
  return true;
}

function retryLater(entry, error) {
  entry.inFlight = false;
  session.stuck = true;
  if (error.status === 401) askForKey();
  const wait = error.retryAfter ? error.retryAfter * 1000 : RETRY_MS[Math.min(nFailures, RETRY_MS.length - 1)];
  nFailures += 1;
  retryTimer = setTimeout(flush, wait);
}

async function keepLeases() {
  if (!session?.current || Date.now() - lastActive > 5 * EXTEND_MS) return;
  for (const token of session.tokens()) {
    try {
      const { task_ids: held } = await client.extend(session.annotator, token, false);
      const lost = session.tasks.filter((entry) => entry.token === token && !held.includes(entry.task.task_id));
      const untouched = lost.filter((entry) => !Object.keys(entry.answers).length && entry !== session.current);
      session.drop(untouched.map((entry) => entry.task.task_id));
    } catch (error) {
      if (error.status === 409) toast("The lease ran out; unfinished products may go to others");
    }
  }
  draw();
}

function openHelp() {
  element("help-dialog").showModal();
  element("help-title").focus(); // not the button at the end, which would scroll there
}

function openOthers() {
  element("filter").value = "";
  drawClasses();
  element("others-dialog").showModal();
  element("filter").focus();
}

function drawClasses() {
  const sought = element("filter").value.trim().toLowerCase();
  const known = [...new Set([...classes, ...session.questions.map((question) => question.class)])];
  const found = known.filter((name) => words(name).toLowerCase().includes(sought) || name.includes(sought));
  element("classes").replaceChildren(...found.map(classRow));
}

function classRow(name) {
  const given = session.current.answers[name];
  const buttons = ["yes", "no", "unsure"].map((value) => {
    const button = make("button", { type: "button", className: value, textContent: value, "aria-pressed": String(given === value) });
    button.addEventListener("click", () => {
      session.answer(name, value);
      draw();
      drawClasses();
    });
    return button;
  });
  return make("li", {}, make("span", { textContent: words(name), title: name }), make("span", { className: "answers" }, ...buttons));
}

function toggleBlind() {
  session.blind = !session.blind;
  session.save();
  draw();
}

const KEYS = {
  y: () => answer("yes"),
  n: () => answer("no"),
  u: () => answer("unsure"),
  s: () => element("skip-dialog").showModal(),
  o: openOthers,
  z: undo,
  b: toggleBlind,
  "?": openHelp,
  Enter: send,
  ArrowDown: () => choose(session.marked + 1, null),
  ArrowUp: () => choose(session.marked - 1, null),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  lastActive = Date.now();
  const dialog = document.querySelector("dialog[open]");
  if (dialog?.id === "skip-dialog" && SKIP_REASONS[Number(event.key) - 1]) {
    event.preventDefault();
    skip(SKIP_REASONS[Number(event.key) - 1]);
    return;
  }
  if (dialog || element("work").hidden || !session?.current) return;
  const act = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (!act || (event.repeat && event.key === "Enter")) return;
  event.preventDefault();
  act();
}

function wire() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", () => { lastActive = Date.now(); });
  element("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  const clicks = { send, skip: KEYS.s, others: openOthers, undo, blind: toggleBlind, help: KEYS["?"], again: leaseMore };
  for (const [id, act] of Object.entries(clicks)) {
    element(id).addEventListener("click", (event) => {
      if (id !== "again") event.currentTarget.blur(); // or Enter would press it again
      act();
    });
  }
  for (const button of element("thumbs").children) {
    button.addEventListener("click", () => {
      button.blur();
      if (button.dataset.answer) answer(button.dataset.answer);
      else send();
    });
  }
  element("filter").addEventListener("input", drawClasses);
  element("filter").addEventListener("keydown", (event) => {
    if (event.key === "Enter") element("classes").querySelector("button.yes")?.click();
  });
  element("reasons").append(...Object.entries(REASONS).flatMap(([reason, why]) => [
    make("dt", {}, reasonChip(reason)), make("dd", { textContent: why }),
  ]));
  element("skip-reasons").append(...SKIP_REASONS.map((reason, index) => {
    const button = make("button", { type: "button", className: "secondary" }, make("kbd", { textContent: index + 1 }), ` ${reason}`);
    button.addEventListener("click", () => skip(reason));
    return make("li", {}, button);
  }));
  setInterval(keepLeases, EXTEND_MS);
  window.addEventListener("online", flush);
}

boot();

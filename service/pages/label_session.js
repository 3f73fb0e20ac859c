// What an annotator is doing: tasks at hand, answers so far, what is still to be sent. No DOM, no network.

const STORED = "winnow-label-session";
const RATE_SECONDS = 600;

const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Session {
  constructor({ annotator, overlap = 1, blind = false }) {
    this.annotator = annotator;
    this.overlap = overlap;
    this.blind = blind;
    this.tasks = []; // {task, token, answers: {class: answer}}, the first one is on the screen
    this.marked = 0; // index of the question that Y, N and U answer
    this.steps = []; // what Z takes back
    this.outbox = []; // {key, annotator, token, label}, oldest first
    this.batch = 0; // tasks of this batch in all
    this.nTasks = 0;
    this.answeredAt = []; // ms, for the rate
    this.nAnswers = 0;
  }

  get current() {
    return this.tasks[0] || null;
  }

  get questions() {
    if (!this.current) return [];
    const asked = this.current.task.questions;
    const names = new Set(asked.map((question) => question.class));
    const extra = Object.keys(this.current.answers).filter((name) => !names.has(name));
    return [...asked, ...extra.map((name) => ({ class: name, probability: null, reason: "your addition" }))];
  }

  get nOpen() {
    return this.questions.filter((question) => !(question.class in this.current.answers)).length;
  }

  add(lease) {
    const known = new Set(this.tasks.map((entry) => entry.task.task_id));
    const entries = lease.tasks.filter((task) => !known.has(task.task_id));
    this.tasks.push(...entries.map((task) => ({ task, token: lease.lease_token, answers: {} })));
    this.batch += entries.length;
    this.save();
  }

  answer(className, value) {
    const { answers } = this.current;
    this.steps.push({ kind: "answer", className, before: answers[className] });
    if (!(className in answers)) this.#count(1);
    answers[className] = value;
    this.markNext(className);
    this.save();
  }

  markNext(className) {
    const names = this.questions.map((question) => question.class);
    const open = (index) => index >= 0 && index < names.length && !(names[index] in this.current.answers);
    const from = names.indexOf(className);
    for (let offset = 1; offset <= names.length; offset += 1) {
      const index = (from + offset) % names.length;
      if (open(index)) {
        this.marked = index;
        return;
      }
    }
    this.marked = from;
  }

  mark(index) {
    this.marked = Math.max(0, Math.min(index, this.questions.length - 1));
  }

  send() {
    this.#leave({ answers: { ...this.current.answers } });
  }

  skip(reason) {
    this.#leave({ skip: reason });
  }

  undo() {
    const step = this.steps.pop();
    if (!step) return false;
    if (step.kind === "answer") this.#takeBackAnswer(step);
    else this.#takeBackTask(step);
    this.save();
    return true;
  }

  drop(taskIds) {
    this.tasks = this.tasks.filter((entry) => !taskIds.includes(entry.task.task_id));
    this.marked = 0;
    this.save();
  }

  sent(entry) {
    this.outbox = this.outbox.filter((other) => other.key !== entry.key); // it may have been taken over meanwhile
    this.save();
  }

  // What an earlier session has not sent: its outbox, and answers to tasks that are no longer at hand, which may still
  // be welcome. They stay their annotator's.
  takeOver(stored) {
    const { annotator } = stored;
    const held = new Set(this.tasks.map((entry) => entry.task.task_id));
    const lost = stored.tasks.filter(({ id, answers }) => !held.has(id) && Object.keys(answers).length);
    const entries = lost.map(({ id, token, answers }) => ({ key: newKey(), token, label: { task_id: id, answers } }));
    this.outbox.push(...[...stored.outbox, ...entries].map((entry) => ({ annotator, ...entry })));
    this.save();
  }

  tokens() {
    return [...new Set(this.tasks.map((entry) => entry.token))];
  }

  ratePerMinute(now) {
    const recent = this.answeredAt.filter((time) => now - time < RATE_SECONDS * 1000);
    if (recent.length < 5) return null;
    return (recent.length - 1) / Math.max((recent.at(-1) - recent[0]) / 60000, 1 / 60);
  }

  // Products come anew with the lease; only what cannot be had again is kept.
  save() {
    const tasks = this.tasks.map(({ task, token, answers }) => ({ id: task.task_id, token, answers }));
    const { annotator, overlap, blind, outbox, batch, nTasks, nAnswers } = this;
    localStorage.setItem(STORED, JSON.stringify({ annotator, overlap, blind, outbox, batch, nTasks, nAnswers, tasks }));
  }

  static stored() {
    try {
      return JSON.parse(localStorage.getItem(STORED));
    } catch {
      return null;
    }
  }

  static restored(stored, leases) {
    const session = new Session(stored);
    Object.assign(session, { nTasks: stored.nTasks, nAnswers: stored.nAnswers });
    const tasks = new Map(leases.flatMap((lease) => lease.tasks.map((task) => [task.task_id, task])));
    session.tasks = stored.tasks
      .filter((entry) => tasks.has(entry.id))
      .map(({ id, token, answers }) => ({ task: tasks.get(id), token, answers }));
    session.batch = Math.max(stored.batch, session.tasks.length);
    if (session.current) session.markNext(session.questions.at(-1)?.class);
    session.takeOver(stored);
    return session;
  }

  #count(change) {
    this.nAnswers += change;
    if (change > 0) this.answeredAt = [...this.answeredAt.slice(-99), Date.now()];
    else this.answeredAt.pop();
  }

  #leave(said) {
    const left = this.tasks.shift();
    const entry = { key: newKey(), annotator: this.annotator, token: left.token, label: { task_id: left.task.task_id, ...said } };
    this.outbox.push(entry);
    this.steps.push({ kind: "task", left, entry });
    this.nTasks += 1;
    this.marked = 0;
    if (this.current) this.markNext(this.questions.at(-1)?.class);
    this.save();
  }

  #takeBackAnswer({ className, before }) {
    const { answers } = this.current;
    if (before === undefined) {
      delete answers[className];
      this.#count(-1);
    } else {
      answers[className] = before;
    }
    this.mark(this.questions.findIndex((question) => question.class === className));
  }

  // A task that was sent already is simply sent again: the later answer stands.
  #takeBackTask({ left, entry }) {
    this.outbox = this.outbox.filter((other) => other !== entry || other.inFlight);
    this.tasks.unshift(left);
    this.nTasks -= 1;
    this.mark(this.questions.length - 1);
  }
}

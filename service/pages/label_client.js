// The label queue's HTTP API, as the labelling page uses it.

const KEY = "winnow-access-key";

export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  // The store or the network is away: the same request may well be taken later.
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export function setAccessKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
}

export async function call(method, path, body, headers = {}) {
  const key = sessionStorage.getItem(KEY);
  const options = { method, headers: { ...headers, ...(key ? { authorization: `Bearer ${key}` } : {}) } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused(0, { detail: "The service cannot be reached." });
  }
  const content = await response.json().catch(() => ({}));
  if (response.ok) return content;
  throw new Refused(response.status, content, Number(response.headers.get("retry-after")) || null);
}

export const lease = (annotator, limit, overlap) =>
  call("POST", "label-queue/lease", { annotator, limit, ...(overlap > 1 ? { overlap } : {}) });

export const extend = (annotator, token, withTasks) =>
  call("POST", "label-queue/extend", { annotator, lease_token: token, ...(withTasks ? { with_tasks: true } : {}) });

export const submit = (annotator, token, label, key) =>
  call("POST", "label-queue/labels", { annotator, lease_token: token, labels: [label] }, { "idempotency-key": key });

export const stats = () => call("GET", "label-queue/stats");

export const model = () => call("GET", "model");

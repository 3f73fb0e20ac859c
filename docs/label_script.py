"""Pull label tasks, answer each question at the keyboard, post the answers: label_script.py URL ANNOTATOR."""

import sys

import httpx

url, annotator = sys.argv[1:]
queue = httpx.Client(base_url=f"{url}/label-queue")  # with keys: headers={"authorization": "Bearer …"}
lease = queue.post("/lease", json={"annotator": annotator, "limit": 5}).raise_for_status().json()
labels = []
for task in lease["tasks"]:
    print(*(f"{name}: {value}" for name, value in task["product"].items() if name != "image"), sep="\n")
    answers = {asked["class"]: input(f"{asked['class']}? (yes/no/unsure) ") for asked in task["questions"]}
    labels.append({"task_id": task["task_id"], "answers": answers})
if labels:
    body = {"annotator": annotator, "lease_token": lease["lease_token"], "labels": labels}
    print(queue.post("/labels", json=body).raise_for_status().json())

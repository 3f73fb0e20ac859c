#!/usr/bin/env bash
# The loop by hand, as the README shows it: six commands, in a model store and a directory of their own.
# Usage: . .venv/bin/activate; docs/tour.sh [PORT]
set -euo pipefail
port=${1:-3010}
place=$(mktemp -d)
export BENTOML_HOME=$place/bentoml
cd "$place"

show() { echo "\$ $*"; "$@" 2>&1; echo; }

show winnow demo-catalogue
show winnow train data/demo
echo "\$ winnow serve --port $port &"
winnow serve --port "$port" >server.log 2>&1 &
server=$!
trap 'kill $server' EXIT
until curl -sf "http://127.0.0.1:$port/readyz" >/dev/null; do sleep 0.2; done
echo
show winnow queue fill data/demo --tasks 500
show winnow labels simulate data/demo --url "http://127.0.0.1:$port"
show winnow retrain data/demo || true  # the gate may say no

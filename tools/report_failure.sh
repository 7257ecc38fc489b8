#!/usr/bin/env bash
# tools/report_failure.sh WHAT: reports a failed weekly run in the open issue, or in a new one.
# Needs gh, its GH_TOKEN, and RUN, the address of the run.
set -euo pipefail

title="The weekly run fails"
what=${1:?give what happened, as in $0 \"newest releases failure, links success\"}
body="$what: ${RUN:?set RUN to the address of the run}"

# List issues instead of searching: the search index may lag by minutes.
number=$(gh issue list --state open --limit 1000 --json number,title --jq "map(select(.title == \"$title\"))[0].number // empty")
if [ -n "$number" ]; then
    gh issue comment "$number" --body "$body"
else
    gh issue create --title "$title" --body "$body"
fi

#!/usr/bin/env bash
# tools/report_failure.sh WHAT: says in an issue that the weekly run failed, in the open one if there is one.
# Needs gh, its GH_TOKEN, and RUN, the address of the run.
set -euo pipefail

title="The weekly run fails"
what=${1:?give what happened, as in $0 \"newest releases failure, links success\"}
body="$what: ${RUN:?set RUN to the address of the run}"

# Listed, not searched for: the search index may not know an issue that was opened a minute ago.
number=$(gh issue list --state open --limit 1000 --json number,title --jq "map(select(.title == \"$title\"))[0].number // empty")
if [ -n "$number" ]; then
    gh issue comment "$number" --body "$body"
else
    gh issue create --title "$title" --body "$body"
fi

#!/usr/bin/env bash
# tools/report_failure.sh WHAT: reports a failed weekly run in the open issue, or in a new one.
# Needs gh, its GH_TOKEN, and RUN, the address of the run.
set -euo pipefail

title="The weekly run fails"
what=${1:?give what happened, as in $0 \"newest releases failure, links success\"}
body="$what: ${RUN:?set RUN to the address of the run}"

# Anybody may open an issue of this title, so only one that the workflow itself opened counts: no person's account can
# have a name in brackets. The list is asked for, because the search index may lag by minutes.
open=$(gh api "repos/{owner}/{repo}/issues?state=open&per_page=100&creator=github-actions%5Bbot%5D")
number=$(TITLE=$title python3 -c '
import json, os, sys
for issue in json.load(sys.stdin):
    own = (issue["user"] or {}).get("login") == "github-actions[bot]" and "pull_request" not in issue
    if own and issue["title"] == os.environ["TITLE"]:
        print(issue["number"])
        break
' <<<"$open")
if [ -n "$number" ]; then
    gh issue comment "$number" --body "$body"
else
    gh issue create --title "$title" --body "$body"
fi

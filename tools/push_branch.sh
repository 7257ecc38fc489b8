#!/usr/bin/env bash
# tools/push_branch.sh FOLDER BRANCH: pushes FOLDER as the only commit of BRANCH on origin, over what was there.
# For what is made and never merged: a history of it would only make every clone larger.
set -euo pipefail

fail() {
    echo "Nothing was pushed: $1" >&2
    exit 1
}

[ $# -eq 2 ] || fail "give a folder and a branch, as in $0 _build/colab colab."
folder=$1 branch=$2
[ -d "$folder" ] && [ -n "$(ls -A "$folder")" ] || fail "$folder is not a folder with something in it."
git check-ref-format "refs/heads/$branch" || fail "$branch is not a name for a branch."
# Over the branch on which people work this would be the end of their history.
default=$(git ls-remote --symref origin HEAD | awk '$1 == "ref:" { print $2 }')
[ -n "$default" ] || fail "the default branch of origin is not known."
[ "refs/heads/$branch" != "$default" ] || fail "$branch is the default branch of origin; give another."

# An index of our own: the checkout and its index stay as they are.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git_folder=$(git rev-parse --absolute-git-dir)
source=$(git rev-parse --short HEAD)
export GIT_INDEX_FILE=$scratch/index
git -C "$folder" --git-dir="$git_folder" --work-tree=. add --all --force .
commit=$(git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
    commit-tree "$(git write-tree)" -m "Made from $source")
git push --force origin "$commit:refs/heads/$branch"

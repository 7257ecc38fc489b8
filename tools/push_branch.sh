#!/usr/bin/env bash
# tools/push_branch.sh FOLDER BRANCH: replaces BRANCH on origin by a single commit that holds FOLDER.
# For generated files that are never merged: their history would only make every clone larger.
set -euo pipefail

fail() {
    echo "Nothing was pushed: $1" >&2
    exit 1
}

[ $# -eq 2 ] || fail "give a folder and a branch, as in $0 _build/colab colab."
folder=$1 branch=$2
[[ $folder != -* ]] || folder=./$folder # or commands would read it as an option
[ -d "$folder" ] && [ -n "$(ls -A "$folder")" ] || fail "$folder is not a folder with something in it."
# Of a repository inside a folder git would push the name of a commit and none of the files.
nested=$(find "$folder/" -iname .git)
[ -z "$nested" ] || fail "${nested%%$'\n'*} makes a repository of its own there, whose files would be lost. Delete it."
git check-ref-format "refs/heads/$branch" || fail "$branch is not a name for a branch."
# A force-push to the branch people work on would destroy its history.
default=$(git ls-remote --symref origin HEAD | awk '$1 == "ref:" { print $2 }')
[ -n "$default" ] || fail "the default branch of origin is not known."
[ "refs/heads/$branch" != "$default" ] || fail "$branch is the default branch of origin; give another."

# A separate index leaves the checkout and its own index untouched.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git_folder=$(git rev-parse --absolute-git-dir)
source=$(git rev-parse --short HEAD)
export GIT_INDEX_FILE=$scratch/index
git -C "$folder" --git-dir="$git_folder" --work-tree=. add --all --force .
odd=$(git ls-files --stage | awk '$1 !~ /^100/')
[ -z "$odd" ] || fail "only plain files are pushed, and this is a link or a repository: $(head -n 1 <<<"${odd#*$'\t'}")."
commit=$(git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
    commit-tree "$(git write-tree)" -m "Made from $source")
git push --force origin "$commit:refs/heads/$branch"

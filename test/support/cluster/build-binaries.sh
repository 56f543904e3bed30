#!/usr/bin/env bash
# build-binaries.sh FOLDER PROGRAM...: builds Kubernetes, etcd and CoreDNS from their Go modules. Versions: env KUBERNETES, COREDNS.
# Programs that are built together share their work: one `go build` for all of Kubernetes and etcd. Each lands in FOLDER whole or
# not at all, so that a killed build leaves nothing half-made.
set -euo pipefail
folder=$1
shift
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/bin"
cd "$work"
export CGO_ENABLED=0
started=$SECONDS
say() { echo "cluster: [$((SECONDS - started)) s] $*" >&2; }

packages=()
for program in "$@"; do
  case $program in
    kube*) packages+=("k8s.io/kubernetes/cmd/$program") ;;
    etcd) packages+=(go.etcd.io/etcd/server/v3) ;;
    coredns) ;;
    *) say "no recipe for $program" && exit 2 ;;
  esac
done

if [ ${#packages[@]} -gt 0 ]; then
  say "downloading the modules of Kubernetes $KUBERNETES"
  printf 'module onehop.test/cluster\ngo 1.26\nrequire k8s.io/kubernetes %s\n' "$KUBERNETES" > go.mod
  GOFLAGS=-mod=mod go mod download "k8s.io/kubernetes@$KUBERNETES"
  # k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them with folders. In a dependency such replacements do
  # not count, so each is replaced by the published module of the same release.
  awk '/=> .\/staging/ { print $1 }' "$(go env GOMODCACHE)/cache/download/k8s.io/kubernetes/@v/$KUBERNETES.mod" |
    while read -r module; do echo "replace $module => $module v0.${KUBERNETES#v1.}"; done >> go.mod
  {
    echo '//go:build tools'
    echo 'package tools'
    for package in "${packages[@]}"; do echo "import _ \"$package\""; done
  } > tools.go
  go mod tidy > tidy.log 2>&1 || { cat tidy.log >&2; exit 1; }
  say "compiling ${packages[*]##*/}"
  # Without the stamped version kubectl and kubelet call themselves v0.0.0 and are refused.
  stamp="-X k8s.io/component-base/version.gitVersion=$KUBERNETES -X k8s.io/client-go/pkg/version.gitVersion=$KUBERNETES"
  go build -trimpath -ldflags "-s -w $stamp" -o "$work/bin/" "${packages[@]}"
  # The package of etcd is called server, in a folder v3.
  for name in server v3; do if [ -e "bin/$name" ]; then mv "bin/$name" bin/etcd; fi; done
fi

case " $* " in
  *' coredns '*)
    say "compiling CoreDNS $COREDNS"
    GOBIN="$work/bin" go install -trimpath -ldflags '-s -w' "github.com/coredns/coredns@$COREDNS"
    ;;
esac

for program in "$@"; do
  cp "bin/$program" "$folder/.$program.part"
  mv "$folder/.$program.part" "$folder/$program"
done
say 'done'

// Command controlplane is kube-apiserver and etcd in one binary, so that the
// tests can run a real Kubernetes API on a machine that has only Go.
//
// One binary and not two: they share most of their code, which is linked once.
package main

import (
	"fmt"
	"io"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	program := os.Args[1]
	// Both programs read os.Args by themselves; they must not see the name.
	os.Args = append([]string{program}, os.Args[2:]...)
	if os.Getenv("CONTROLPLANE_EXIT_WITH_STDIN") != "" {
		go exitWithStdin()
	}
	switch program {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(app.NewAPIServerCommand()))
	default:
		usage()
	}
}

// exitWithStdin ends the process once the other end of its standard input is
// gone: a test run that was killed leaves no servers behind.
func exitWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver FLAGS...")
	os.Exit(2)
}

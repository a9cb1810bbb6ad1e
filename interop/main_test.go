package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/interop/harness"
)

// rig is the one broker that every client talks to.
type rig struct {
	broker *harness.Broker
	// program is openskr, for brokers of other settings.
	program string
	proxy   *harness.Proxy
	// principals prove themselves in other ways than the administrator.
	principals *harness.Principals
	notes      string // file
	// outside is the environment as it was: the suite's own leads to its broker alone.
	outside []string
}

// suite is set by TestMain before the first test.
var suite *rig

func TestMain(m *testing.M) {
	if name := os.Getenv("OPENSKR_TEST_READ"); name != "" {
		os.Exit(readAlone(name))
	}
	if dir := os.Getenv("OPENSKR_TEST_NETWORK"); dir != "" {
		os.Exit(alone(dir, os.Args[1:]))
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "openskr-interop-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := os.Getenv("OPENSKR") // a built one, instead of this checkout's
	if program == "" {
		if program, err = harness.Build(ctx, "..", dir); err != nil {
			return 1, err
		}
	}
	b, err := harness.Start(ctx, program, dir)
	if err != nil {
		return 1, err
	}
	principals, err := b.NewPrincipals(ctx)
	if err != nil {
		return 1, errors.Join(err, b.Stop())
	}
	p, err := harness.StartProxy(b.Port)
	if err != nil {
		return 1, err
	}
	suite = &rig{broker: b, program: program, proxy: p, principals: principals, notes: filepath.Join(dir, "notes"), outside: os.Environ()}
	// What a user of any SDK would set, before the first request reads it.
	for _, v := range b.Environ(p) {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	code = m.Run()
	if err := errors.Join(b.Stop(), p.Stop()); err != nil {
		return 1, err
	}
	if code != 0 && testing.Verbose() {
		fmt.Fprintln(os.Stderr, b.Log())
	}
	if code != 0 || flag.Lookup("test.run").Value.String() != "" {
		return code, nil // not the whole suite: what is not noted may just not have run
	}
	// On its first run the Azure CLI asks which version of itself is the newest.
	news := func(host string) bool { return host == "azcliprod.blob.core.windows.net:443" }
	if strange := slices.DeleteFunc(p.Strange(), news); len(strange) > 0 {
		return 1, fmt.Errorf("a client wanted to talk to somebody else: %q", strange)
	}
	return code, compatible()
}

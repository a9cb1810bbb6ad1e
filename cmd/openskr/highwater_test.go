package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/telemetry"
	"github.com/openskr/openskr/release"
)

// TestMarkThatCannotBeWritten: a start finds out, and a broker that serves goes on and
// tells.
func TestMarkThatCannotBeWritten(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	r := bareRig(t, initFlags{highWater: mark})
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	open := func() (*broker, error) {
		return openBroker(t.Context(), brokerOptions{
			Dir: r.dir, Config: cfg, Logger: telemetry.NewLogger(&log, slog.LevelInfo), Level: &slog.LevelVar{}, Now: time.Now,
		})
	}
	broken := func(is bool) {
		t.Helper()
		do := os.Remove
		if is {
			do = func(path string) error { return os.Mkdir(path, 0o700) }
		}
		if err := do(mark + ".new"); err != nil {
			t.Fatal(err)
		}
	}
	broken(true)
	if _, err := open(); !errors.Is(err, syscall.EISDIR) {
		t.Fatalf("started: %v", err)
	}
	broken(false)
	b, err := open()
	if err != nil {
		t.Fatal(err)
	}
	broken(true)
	if err := b.append(t.Context(), b.records(t.Context(), "test")); err != nil {
		t.Errorf("does not go on: %v", err)
	}
	if n, _ := b.log.MarkLag(); n != 1 || b.log.RaiseMark() == nil {
		t.Errorf("behind by %d", n)
	}
	if !strings.Contains(log.String(), "the high-water mark cannot be written") {
		t.Errorf("the log of the program has %s", log.String())
	}
	if err := b.close(); err == nil {
		t.Error("a stop does not tell that the last mark is missing")
	}
	broken(false)
	if b, err = open(); err != nil {
		t.Fatal(err)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
}

// TestMarkOfTheConfiguration is refused where it would be put back with the store, and
// the refusal of a store is exit code 3.
func TestMarkOfTheConfiguration(t *testing.T) {
	r := bareRig(t, initFlags{})
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		_, err := openBroker(t.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now})
		return err
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(r.dir, "mark"), filepath.Join(r.dir, deployment.Database), filepath.Join(link, "mark")} {
		cfg.HighWater = path
		if err := open(); err == nil || !strings.Contains(err.Error(), "inside the data folder") {
			t.Errorf("%s: %v", path, err)
		}
	}
	cfg.HighWater = filepath.Join(t.TempDir(), "none")
	if err := open(); release.ReasonOf(err) != release.ReasonRollback || exitCode(err) != codeRefused {
		t.Errorf("no mark: %v, exit %d", err, exitCode(err))
	}
}

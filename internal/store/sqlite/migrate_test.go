package sqlite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// TestMigrationKilled kills -9 a program in the middle of a migration's statements: the
// older one still opens the store, and the next attempt of the newer one succeeds.
func TestMigrationKilled(t *testing.T) {
	const childEnv = "OPENSKR_TEST_MIGRATE"
	ctx := context.Background()
	next, n := nextVersion(t, false)
	if path := os.Getenv(childEnv); path != "" {
		next.(fstest.MapFS)[fmt.Sprintf("%05d_more.sql", n)].Data = []byte("-- +goose Up\nALTER TABLE secrets ADD COLUMN note TEXT;\n" +
			"CREATE TABLE more (x INTEGER);\nUPDATE secrets SET note = name;\n" +
			"INSERT INTO more WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000000) SELECT x FROM c;\n")
		_, err := open(ctx, path, Options{}, next)
		t.Fatal("the migration ended:", err)
	}
	path := fresh(t)
	s := mustOpen(t, path)
	put(t, s, "before")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestMigrationKilled$")
	child.Env = append(os.Environ(), childEnv+"="+path)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for look, written := time.NewTicker(time.Millisecond), int64(0); written < 1<<20; { // what is not committed spills there
		select {
		case err := <-ended:
			t.Fatal("before it was killed:", err)
		case <-look.C:
			if fi, err := os.Stat(path + "-wal"); err == nil {
				written = fi.Size()
			}
		}
	}
	_ = child.Process.Kill()
	<-ended
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal("the older program:", err)
	}
	s, err := open(ctx, path, Options{}, next)
	if err != nil {
		t.Fatal("again:", err)
	}
	if got, err := s.Secret(ctx, "before"); err != nil || string(got) != "before" {
		t.Errorf("%s, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

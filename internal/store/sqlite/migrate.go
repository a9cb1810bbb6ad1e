package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pressly/goose/v3"

	"github.com/openskr/openskr/internal/store"
)

// migrate brings the tables up to date. Each migration is one transaction with
// its version, so after a kill the store is at one version or the next, and the
// next start goes on. An existing store is copied first.
func migrate(ctx context.Context, db *sql.DB, path string, migrations fs.FS, created bool) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, migrations,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if !created {
		if err := known(ctx, db); err != nil {
			return err
		}
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	switch {
	case have > want:
		return fmt.Errorf("%w: schema %d, this one knows %d; install the newer program again", store.ErrNewer, have, want)
	case have == want:
		return nil
	case have > 0:
		if err := copyBefore(ctx, path, fmt.Sprintf("%s.before-v%d", path, want)); err != nil {
			return fmt.Errorf("copy before migration: %w", err)
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating schema %d to %d: %w", have, want, err)
	}
	return nil
}

// known refuses a file that has tables but was not made by this program.
func known(ctx context.Context, db *sql.DB) error {
	var tables, ours int
	err := db.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(name = ?), 0) FROM sqlite_master WHERE type = 'table'`,
		goose.DefaultTablename).Scan(&tables, &ours)
	if err != nil {
		return fmt.Errorf("not readable as a database: %w", err)
	}
	if tables > 0 && ours == 0 {
		return errors.New("a database, but not a store of this program")
	}
	return nil
}

// copyBefore replaces an older copy of the same name: it is from an attempt that
// did not end, or from before the older program was used again.
func copyBefore(ctx context.Context, from, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return vacuumInto(ctx, from, path)
}

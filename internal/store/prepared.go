package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// prepared is a read pool that prepares each query once: parsing the SQL costs
// more than most of our reads. The queries are constants of this package, so the
// map is bounded. Limits are bound as CAST(? AS INTEGER): SQLite looks at a bare LIMIT ?
// when it plans, and prepares again at every execution.
type prepared struct {
	db    *sql.DB
	stmts sync.Map // query → *sql.Stmt
}

func (p *prepared) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := p.stmts.Load(query); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := p.stmts.LoadOrStore(query, st); loaded {
		return first.(*sql.Stmt), st.Close()
	}
	return st, nil
}

// QueryContext implements querier.
func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := p.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// QueryRowContext implements querier; an error of preparing is met again by the
// plain query, whose Row carries it.
func (p *prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = p.uncancelled(ctx)
	st, err := p.stmt(ctx, query)
	if err != nil {
		return p.db.QueryRowContext(ctx, query, args...)
	}
	return st.QueryRowContext(ctx, args...)
}

// uncancelled is the context of a read of one row. To watch one that can end,
// database/sql and the driver start a goroutine each, which costs as much as to find a
// row by its key, and the row is there before they could act. Whoever has to wait for a
// connection first waits no longer than the caller said.
func (p *prepared) uncancelled(ctx context.Context) context.Context {
	if st := p.db.Stats(); ctx.Err() != nil || st.InUse >= st.MaxOpenConnections {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// close closes the statements; the pool closes after them.
func (p *prepared) close() error {
	var errs []error
	p.stmts.Range(func(_, st any) bool {
		errs = append(errs, st.(*sql.Stmt).Close())
		return true
	})
	return errors.Join(errs...)
}

package deployment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/internal/audit"
	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// ErrNothingToAccept says that log and high-water mark agree.
var ErrNothingToAccept = errors.New("the log goes on from its high-water mark: there is nothing to accept")

// errForeignMark keeps one deployment from overwriting the mark of another.
var errForeignMark = errors.New("the file is the high-water mark of another log: name this deployment's own; if the file is of no use to anyone, remove it first")

// AcceptMark goes on with the log of the stopped deployment in dir although it does not
// go on from the high-water mark in the file at mark. Its record, log/accept, is the
// first thing after what was found, and revokes the open grants to make disks; the mark
// is written anew when that is durable.
// It is meant for [WithIdentities]: whoever can put back store and root key on a
// broker's host holds no recovery identity. now is the clock of the record.
func AcceptMark(ctx context.Context, dir, mark string, opener Opener, now func() time.Time) (j audit.MarkJudgement, err error) {
	if err := MarkOutside(mark, dir); err != nil {
		return j, err
	}
	if err := unix.Access(filepath.Dir(mark), unix.W_OK); err != nil { // before there is a record of it
		return j, fmt.Errorf("high-water mark: folder %s: %w; is its disk mounted?", filepath.Dir(mark), err)
	}
	o, err := open(ctx, filepath.Join(dir, Database), opener, now)
	if err != nil {
		return j, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	j, why := o.log.JudgeMark(ctx, mark)
	switch j.State {
	case audit.MarkGood:
		return j, ErrNothingToAccept
	case audit.MarkForeign:
		return j, errForeignMark
	case "":
		return j, why
	}
	rec := record("log/accept")
	rec.Detail = markDetail(j)
	if err := o.goOn(ctx, rec, func(keyvault.Tx) error { return nil }); err != nil {
		return j, err
	}
	return j, audit.WriteMark(mark, o.log.Checkpoint())
}

// markDetail is what a record says of a mark that is written anew.
func markDetail(j audit.MarkJudgement) map[string]string {
	d := map[string]string{"high_water": string(j.State), "log_size": strconv.FormatInt(j.Size, 10)}
	if j.Marked > 0 {
		d["high_water_size"], d["high_water_root"] = strconv.FormatInt(j.Marked, 10), fmt.Sprintf("%x", j.Root[:])
	}
	return d
}

// MarkOutside refuses a high-water mark in the data folder: whoever puts that back
// would put back both.
func MarkOutside(mark, dir string) error {
	in, err := seal.Inside(mark, dir)
	if err == nil && in {
		err = fmt.Errorf("high-water mark %s lies inside the data folder %s and would be put back with it: keep it on another disk", mark, dir)
	}
	return err
}

// superseded judges the mark that a restoration writes anew, for its record.
func (o *opened) superseded(ctx context.Context, mark string) (map[string]string, error) {
	if mark == "" {
		return map[string]string{}, nil
	}
	j, err := o.log.JudgeMark(ctx, mark)
	switch {
	case j.State == audit.MarkForeign:
		return nil, errForeignMark
	case err != nil && release.ReasonOf(err) != release.ReasonRollback:
		return nil, err
	}
	return markDetail(j), nil
}

package snp

import (
	"fmt"
	"slices"
)

// tcb is TCB_VERSION as it stands in a report. Which byte is what depends on the
// product line, so it is never compared as one number: components are.
type tcb [8]byte

// levels are the components of a TCB. Each counts up on its own.
type levels struct {
	fmc, bootLoader, tee, snp, microcode byte // fmc: Turin only
}

// split reads the layout of a product line (SEV-SNP ABI, table 3 and, for Turin,
// table 4).
func (t tcb) split(line string) (levels, error) {
	reserved, l := t[2:6], levels{bootLoader: t[0], tee: t[1], snp: t[6], microcode: t[7]}
	if line == Turin {
		reserved, l = t[4:7], levels{fmc: t[0], bootLoader: t[1], tee: t[2], snp: t[3], microcode: t[7]}
	}
	if !zero(reserved) {
		return l, fmt.Errorf("TCB %x sets bytes that %s reserves", t[:], line)
	}
	return l, nil
}

// query is how the Key Distribution Service names a VCEK of these levels.
func (l levels) query(line string) string {
	q := fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", l.bootLoader, l.tee, l.snp, l.microcode)
	if line == Turin {
		return fmt.Sprintf("fmcSPL=%02d&", l.fmc) + q
	}
	return q
}

// claims gives the components by name.
func (l levels) claims(line string) map[string]any {
	c := map[string]any{
		"boot_loader": int64(l.bootLoader), "tee": int64(l.tee), "snp": int64(l.snp), "microcode": int64(l.microcode),
	}
	if line == Turin {
		c["fmc"] = int64(l.fmc)
	}
	return c
}

// within says whether no component of l is above that of other.
func (l levels) within(other levels) bool {
	return l.fmc <= other.fmc && l.bootLoader <= other.bootLoader && l.tee <= other.tee && l.snp <= other.snp && l.microcode <= other.microcode
}

// tcbs are all TCBs of a report, split.
type tcbs struct {
	reported, current, committed, launch levels
}

// tcbs splits them and refuses what firmware never says: that it runs below what it
// has committed to or reports.
func (r *report) tcbs(line string) (*tcbs, error) {
	out := &tcbs{}
	for _, f := range []struct {
		name string
		from tcb
		to   *levels
	}{{"reported", r.reported, &out.reported}, {"current", r.current, &out.current}, {"committed", r.committed, &out.committed}, {"launch", r.launch, &out.launch}} {
		var err error
		if *f.to, err = f.from.split(line); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if !out.committed.within(out.current) || !out.reported.within(out.current) {
		return nil, fmt.Errorf("current TCB %x is below the committed %x or the reported %x", r.current[:], r.committed[:], r.reported[:])
	}
	if c, k := r.currentFW, r.committedFW; slices.Compare([]byte{k[2], k[1], k[0]}, []byte{c[2], c[1], c[0]}) > 0 {
		return nil, fmt.Errorf("current firmware %d.%d.%d is below the committed %d.%d.%d", c[2], c[1], c[0], k[2], k[1], k[0])
	}
	return out, nil
}

// claims gives them by name.
func (t *tcbs) claims(line string) map[string]any {
	return map[string]any{
		"reported": t.reported.claims(line), "current": t.current.claims(line),
		"committed": t.committed.claims(line), "launch": t.launch.claims(line),
	}
}

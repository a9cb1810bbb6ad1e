package snp

import "fmt"

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

// tcbClaims gives all TCBs of a report, split.
func (r *report) tcbClaims(line string) (map[string]any, error) {
	out := map[string]any{}
	for _, f := range []struct {
		name string
		tcb  tcb
	}{{"reported", r.reported}, {"current", r.current}, {"committed", r.committed}, {"launch", r.launch}} {
		l, err := f.tcb.split(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		out[f.name] = l.claims(line)
	}
	return out, nil
}

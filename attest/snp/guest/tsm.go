package guest

import tsm "github.com/openskr/openskr/attest/tsm/guest"

// FS is the file system of configfs-tsm.
type FS = tsm.FS

// reports is configfs-tsm as a source.
type reports struct{ *tsm.Reports }

func openTSM(o Options) (source, error) {
	r, err := tsm.Open("sev_guest", o.TSM, o.FS)
	if err != nil {
		return nil, err
	}
	return reports{r}, nil
}

func (r reports) report(reportData [64]byte, vmpl uint32) (report, table []byte, err error) {
	return r.Get(reportData[:], vmpl)
}

func (reports) Close() error { return nil }

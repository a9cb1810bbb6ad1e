package skr

import (
	"bytes"
	"testing"
)

func TestHCL(t *testing.T) {
	want := HCL{Type: ReportSNP, Report: bytes.Repeat([]byte{7}, hclReportSize), RunTimeData: []byte(`{"keys":[]}`)}
	nv, err := want.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseHCL(append(nv, make([]byte, 100)...))
	if err != nil || got.Type != want.Type || !bytes.Equal(got.Report, want.Report) || !bytes.Equal(got.RunTimeData, want.RunTimeData) {
		t.Fatalf("read back %+v, %v", got, err)
	}
	const request = hclHeaderSize + hclReportSize
	change := func(at int, to byte) []byte {
		b := bytes.Clone(nv)
		b[at] = to
		return b
	}
	for name, bad := range map[string][]byte{
		"empty":               nil,
		"cut":                 nv[:len(nv)-1],
		"cut in the request":  nv[:request+hclRequestSize-1],
		"no signature":        change(0, 'X'),
		"hash not SHA-256":    change(request+12, 2),
		"size beyond the end": change(request+19, 0xff),
	} {
		if got, err := ParseHCL(bad); err == nil {
			t.Errorf("%s: read %+v", name, got)
		}
	}
	if _, err := (HCL{Report: make([]byte, hclReportSize+1)}).Bytes(); err == nil {
		t.Error("a report too long for the index was taken")
	}
}

func TestIsolationNeedsItsReport(t *testing.T) {
	if _, err := SNPIsolation(HCL{Type: ReportTDX}, nil); err == nil {
		t.Error("a TDX report was taken for SNP")
	}
	if _, err := TDXIsolation(HCL{Type: ReportSNP}, nil); err == nil {
		t.Error("an SNP report was taken for TDX")
	}
}

func FuzzHCL(f *testing.F) {
	nv, err := HCL{Type: ReportSNP, RunTimeData: []byte("{}")}.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(nv)
	f.Add([]byte(hclSignature))
	f.Fuzz(func(t *testing.T, nv []byte) {
		if h, err := ParseHCL(nv); err == nil && len(h.Report) != hclReportSize {
			t.Errorf("a report of %d bytes", len(h.Report))
		}
	})
}

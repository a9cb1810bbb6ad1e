package binding_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/snp/format"
)

func TestBody(t *testing.T) {
	sound := attest.Evidence{Type: "snp", Body: []byte(`{"type":"snp","report":"AAAA"}`)}
	with := func(typ attest.Type, body string) attest.Evidence {
		return attest.Evidence{Type: typ, Body: []byte(body)}
	}
	for name, c := range map[string]struct {
		ev    attest.Evidence
		limit int
		check attest.Check
	}{
		"sound":                    {sound, len(sound.Body), ""},
		"of another type":          {with("tdx", string(sound.Body)), 64, attest.CheckTypeNotAllowed},
		"of another type, inside":  {with("snp", `{"type":"tdx","report":"AAAA"}`), 64, attest.CheckTypeNotAllowed},
		"of no type, inside":       {with("snp", `{"report":"AAAA"}`), 64, attest.CheckTypeNotAllowed},
		"simulated, inside":        {with("snp", `{"type":"simulated-snp"}`), 64, attest.CheckTypeNotAllowed},
		"too long":                 {sound, len(sound.Body) - 1, attest.CheckMalformed},
		"with a member nobody has": {with("snp", `{"type":"snp","x":1}`), 64, attest.CheckMalformed},
		"with two types":           {with("snp", `{"type":"tdx","type":"snp"}`), 64, attest.CheckMalformed},
		"empty":                    {with("snp", ``), 64, attest.CheckMalformed},
	} {
		var body format.Evidence
		rej := binding.Body(c.ev, attest.TypeSNP, c.limit, &body, &body.Type)
		if (rej == nil) != (c.check == "") || rej != nil && rej.Check != c.check {
			t.Errorf("%s: %v", name, rej)
		}
		if rej == nil && len(body.Report) != 3 {
			t.Errorf("%s: %+v", name, body)
		}
	}
}

func TestSigned(t *testing.T) {
	at := time.Unix(1790000000, 0)
	rd := []byte(good)
	d := binding.Digest(rd)
	for name, c := range map[string]struct {
		data  []byte
		want  attest.Expect
		out   []byte
		check attest.Check
	}{
		"runtime data":            {rd, attest.Expect{At: at}, d[:], ""},
		"raw value":               {nil, attest.Expect{At: at, SignedData: []byte("x")}, []byte("x"), ""},
		"unbound":                 {nil, attest.Expect{At: at, Unbound: true}, nil, ""},
		"no time":                 {rd, attest.Expect{}, nil, attest.CheckInternal},
		"unbound with data":       {rd, attest.Expect{At: at, Unbound: true}, nil, attest.CheckInternal},
		"unbound with raw value":  {nil, attest.Expect{At: at, Unbound: true, SignedData: []byte{}}, nil, attest.CheckInternal},
		"empty raw value":         {nil, attest.Expect{At: at, SignedData: []byte{}}, nil, attest.CheckReportData},
		"nothing":                 {nil, attest.Expect{At: at}, nil, attest.CheckRuntimeData},
		"runtime data, too large": {make([]byte, binding.MaxSize+1), attest.Expect{At: at}, nil, attest.CheckRuntimeData},
	} {
		out, rej := binding.Signed(c.data, c.want)
		if !bytes.Equal(out, c.out) || (rej == nil) != (c.check == "") || rej != nil && rej.Check != c.check {
			t.Errorf("%s: %x, %v", name, out, rej)
		}
	}
}

func TestCheckReportData(t *testing.T) {
	field := append([]byte("abc"), make([]byte, 61)...)
	tailed := append(append([]byte("abc"), "tail"...), make([]byte, 57)...)
	for name, c := range map[string]struct {
		got, signed, tail []byte
		ok                bool
	}{
		"filled with zeros":      {field, []byte("abc"), nil, true},
		"whole":                  {field, field, nil, true},
		"shorter":                {field, []byte("ab"), nil, false},
		"longer":                 {field, []byte("abcd"), nil, false},
		"something behind":       {tailed, []byte("abc"), nil, false},
		"the tail behind":        {tailed, []byte("abc"), []byte("tail"), true},
		"another tail":           {tailed, []byte("abc"), []byte("liat"), false},
		"no tail":                {field, []byte("abc"), []byte("tail"), false},
		"nothing signed":         {make([]byte, 64), nil, nil, false},
		"field cut":              {field[:63], []byte("abc"), nil, false},
		"too long for the field": {field, make([]byte, 65), nil, false},
	} {
		if rej := binding.CheckReportData(c.got, c.signed, c.tail...); (rej == nil) != c.ok {
			t.Errorf("%s: %v", name, rej)
		}
	}
}

func TestBind(t *testing.T) {
	at := time.Unix(1790000000, 0)
	var res attest.Result
	if rej := binding.Bind(&res, []byte(good), attest.Expect{At: at}); rej != nil || !res.Facts.Bound || !res.Facts.Recipient ||
		res.Facts.Freshness != attest.Checked || string(res.Recipient) != `{"kty":"EC"}` {
		t.Errorf("%+v, %v", res, rej)
	}
	res = attest.Result{}
	if rej := binding.Bind(&res, nil, attest.Expect{At: at, SignedData: []byte("x")}); rej != nil || res.Facts.Bound || res.Facts.Freshness != attest.Checked {
		t.Errorf("%+v, %v", res, rej)
	}
	res = attest.Result{}
	if rej := binding.Bind(&res, nil, attest.Expect{At: at, Unbound: true}); rej != nil || res.Facts.Bound || res.Facts.Freshness != attest.NotChecked {
		t.Errorf("%+v, %v", res, rej)
	}
	for text, check := range map[string]attest.Check{
		`{"keys":[]}`: attest.CheckNoRecipient, `{}`: attest.CheckNoRecipient, `{"keys":[{},{}]}`: attest.CheckAmbiguous, `x`: attest.CheckRuntimeData,
	} {
		if rej := binding.Bind(&res, []byte(text), attest.Expect{At: at}); rej == nil || rej.Check != check {
			t.Errorf("%s: %v", text, rej)
		}
	}
}

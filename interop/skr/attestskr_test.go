package skr

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// fits makes an answer one for AttestSKR.
func fits(a *answer) { a.enc, a.oaep = "RSA_AES_KEY_WRAP_256", crypto.SHA256 }

func TestAttestSKRTakes(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*answer){
		"a right answer": func(*answer) {},
		// It looks at no signature, no chain and no echo: that is Microsoft's program.
		"a tampered payload": func(a *answer) { a.tamper = func(p []byte) []byte { return append(p, ' ') } },
		"no x5c":             func(a *answer) { a.x5c = nil },
		"another enc":        func(a *answer) { a.enc = "CKM_RSA_AES_KEY_WRAP" },
		"a padded header":    func(a *answer) { a.encode = encodePadded("header") },
	} {
		a := r.answer(t)
		fits(&a)
		change(&a)
		out, err := (&AttestSKR{}).Open(a.jws(t), softKey{r.target})
		if err != nil || !r.released.Equal(out.PrivateKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttestSKRRefuses(t *testing.T) {
	r := newRig(t)
	large := newRSA(t, 3072)
	for name, c := range map[string]struct {
		change func(*answer)
		why    string
	}{
		"a 192-bit inner key":   {func(a *answer) { a.kek = 24 }, "inner AES key of 24"},
		"a 128-bit inner key":   {func(a *answer) { a.kek = 16 }, "inner AES key of 16"},
		"SHA-1":                 {func(a *answer) { a.oaep = crypto.SHA1 }, "OAEP"},
		"SHA-384":               {func(a *answer) { a.oaep = crypto.SHA384 }, "OAEP"},
		"a 3072-bit target":     {func(a *answer) { a.target = &large.PublicKey }, "OAEP"},
		"a padded payload":      {func(a *answer) { a.encode = encodePadded("payload") }, "base64"},
		"an EC key":             {func(a *answer) { a.kty, a.plain = "EC-HSM", must(x509.MarshalPKCS8PrivateKey(newEC(t)))(t) }, "RSA only"},
		"an oct key":            {func(a *answer) { a.kty, a.plain = "oct-HSM", make([]byte, 32) }, "RSA only"},
		"PKCS #1 for PKCS #8":   {func(a *answer) { a.plain = x509.MarshalPKCS1PrivateKey(r.released) }, "released"},
		"C1 and nothing behind": {func(a *answer) { a.encode = func(part string, b []byte) string { return b64u(cutCiphertext(part, b)) } }, "C1 alone"},
	} {
		a := r.answer(t)
		fits(&a)
		c.change(&a)
		_, err := (&AttestSKR{}).Open(a.jws(t), softKey{r.target})
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: refused for another reason: %v", name, err)
		}
	}
	a := r.answer(t)
	fits(&a)
	right := a.jws(t)
	for _, bad := range []string{"", "e30.e30", right + ".e30", right[:strings.LastIndex(right, ".")]} {
		if _, err := (&AttestSKR{}).Open(bad, softKey{r.target}); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

func cutCiphertext(part string, b []byte) []byte {
	if part == "ciphertext" {
		return b[:targetSize]
	}
	return b
}

func TestSealedToken(t *testing.T) {
	key := softKey{newRSA(t, 2048)}
	for name, c := range map[string]struct {
		change func(*sealer)
		why    string // "" is taken
	}{
		"right":           {func(*sealer) {}, ""},
		"AES-128":         {func(s *sealer) { s.key = 16 }, ""},
		"padded":          {func(s *sealer) { s.encode = func(b []byte) string { return b64u(b) + "=" } }, "base64"},
		"other data":      {func(s *sealer) { s.aad = "transport key" }, "authentication"},
		"no data":         {func(s *sealer) { s.aad = "" }, "authentication"},
		"CBC":             {func(s *sealer) { s.params["BlockMode"] = "ChainingModeCBC" }, "not AES-GCM"},
		"another cipher":  {func(s *sealer) { s.params["Cipher"] = "3DES" }, "not AES-GCM"},
		"no key size":     {func(s *sealer) { delete(s.params, "KeySizeInBits") }, "not AES-GCM"},
		"text key size":   {func(s *sealer) { s.params["KeySizeInBits"] = "256" }, "KeySizeInBits"},
		"a tag of 12":     {func(s *sealer) { s.tag = 12 }, "tag of 12"},
		"another IV":      {func(s *sealer) { s.params["Iv"] = base64.StdEncoding.EncodeToString(make([]byte, 12)) }, "authentication"},
		"an IV of 16":     {func(s *sealer) { s.params["Iv"] = base64.StdEncoding.EncodeToString(make([]byte, 16)) }, "IV of 16"},
		"PKCS #7 padding": {func(s *sealer) { s.jwt += "\x04\x04\x04\x04" }, "compact JWT"},
		"no JWT":          {func(s *sealer) { s.jwt = "e30.e30" }, "compact JWT"},
	} {
		s := newSealer()
		c.change(&s)
		got, err := openSealed(s.seal(t, key.Public()), key.DecryptPKCS1)
		switch {
		case c.why == "" && (err != nil || got != s.jwt):
			t.Errorf("%s: %q, %v", name, got, err)
		case c.why != "" && err == nil:
			t.Errorf("%s: taken", name)
		case c.why != "" && !strings.Contains(err.Error(), c.why):
			t.Errorf("%s: refused for another reason: %v", name, err)
		}
	}
	if _, err := openSealed(newSealer().seal(t, softKey{newRSA(t, 2048)}.Public()), key.DecryptPKCS1); err == nil {
		t.Error("a token for another key was opened")
	}
}

func FuzzSealed(f *testing.F) {
	key := softKey{newRSA(f, 2048)}
	f.Add(newSealer().seal(f, key.Public()))
	f.Fuzz(func(t *testing.T, sealed string) {
		if jwt, err := openSealed(sealed, key.DecryptPKCS1); err == nil && strings.Count(jwt, ".") != 2 {
			t.Errorf("opened to %q", jwt)
		}
	})
}

// What AttestSKR asks, from attestation to key, against a service of canned answers.
func TestAttestSKRFlow(t *testing.T) {
	r := newRig(t)
	const keyURL = "https://kv1.vault.azure.net.openskr.local:8443/keys/k/0123456789abcdef0123456789abcdef"
	sealed := newSealer()
	right := r.answer(t)
	fits(&right)
	var info map[string]any
	s := newService(t, r.ca, []string{"maa.openskr.local", "kv1.vault.azure.net.openskr.local"}, map[string]func([]byte) (int, any){
		"/attest/AzureGuest?api-version=2020-10-01": func(body []byte) (int, any) {
			info = attestationInfo(t, body)
			return 200, map[string]string{"token": sealed.seal(t, standard(t, info, "TpmInfo", "EncKeyPub"))}
		},
		"/keys/k/0123456789abcdef0123456789abcdef/release?api-version=7.3": func([]byte) (int, any) {
			return 200, map[string]string{"value": right.jws(t)}
		},
	})
	hcl := HCL{Type: ReportSNP, Report: make([]byte, hclReportSize), RunTimeData: []byte(`{"keys":[]}`)}
	client := &AttestSKR{
		MAA: "http://maa.openskr.local:8443/", KeyURL: keyURL, HTTP: s.client, TPM: softTPM{r.target},
		Bearer:    func(_ context.Context, resource string) (string, error) { return "token-for-" + resource, nil },
		Isolation: func() (Isolation, error) { return SNPIsolation(hcl, []byte("PEM")) },
	}
	out, err := client.Release(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !r.released.Equal(out.PrivateKey) || out.Token != sealed.jwt || out.Nonce != "ADE0101" {
		t.Errorf("got %+v", out)
	}
	checkInfo(t, info, hcl)
	release := s.calls[1]
	want := `{"nonce":"ADE0101","target":"` + sealed.jwt + `","enc":"RSA_AES_KEY_WRAP_256"}`
	if string(release.body) != want || release.auth != "Bearer token-for-https://vault.azure.net" || release.host != "kv1.vault.azure.net.openskr.local:8443" {
		t.Errorf("release was asked as %+v", release)
	}
	if attest := s.calls[0]; attest.host != "maa.openskr.local" || attest.auth != "" {
		t.Errorf("attestation was asked as %s with %q", attest.host, attest.auth)
	}
}

func attestationInfo(t *testing.T, body []byte) (info map[string]any) {
	t.Helper()
	var request struct{ AttestationInfo string }
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(must(decodeSegment(request.AttestationInfo))(t), &info); err != nil {
		t.Fatal(err)
	}
	return info
}

// standard reads a member of standard base64 below nested objects.
func standard(t *testing.T, object any, path ...string) []byte {
	t.Helper()
	for _, p := range path {
		object = object.(map[string]any)[p]
	}
	return must(base64.StdEncoding.DecodeString(object.(string)))(t)
}

func checkInfo(t *testing.T, info map[string]any, hcl HCL) {
	t.Helper()
	tpm := info["TpmInfo"].(map[string]any)
	if len(tpm["PCRs"].([]any)) != 8 || tpm["PcrSet"].([]any)[7] != 7.0 || tpm["AikCert"] != "" || info["TcgLogs"] != "" {
		t.Errorf("TPM: %v, logs %v", tpm, info["TcgLogs"])
	}
	for want, path := range map[string][]string{
		"Linux":                 {"OSType"},
		"NotApplication":        {"OSBuild"},
		"ADE0101":               {"ClientPayload", "nonce"},
		"quote":                 {"TpmInfo", "PcrQuote"},
		"quote signature":       {"TpmInfo", "PcrSignature"},
		"certify":               {"TpmInfo", "EncKeyCertifyInfo"},
		"certify signature":     {"TpmInfo", "EncKeyCertifyInfoSignature"},
		"aik":                   {"TpmInfo", "AikPub"},
		string(hcl.RunTimeData): {"IsolationInfo", "Evidence", "RunTimeData"},
	} {
		if got := standard(t, info, path...); string(got) != want {
			t.Errorf("%v is %q", path, got)
		}
	}
	var proof map[string]string
	if err := json.Unmarshal(standard(t, info, "IsolationInfo", "Evidence", "Proof"), &proof); err != nil {
		t.Fatal(err)
	}
	if proof["SnpReport"] != b64u(hcl.Report) || proof["VcekCertChain"] != base64.StdEncoding.EncodeToString([]byte("PEM")) {
		t.Errorf("proof %v", proof)
	}
	if info["IsolationInfo"].(map[string]any)["Type"] != "SevSnp" || info["AttestationProtocolVersion"] != "2.0" {
		t.Errorf("info %v", info)
	}
}

func TestAttestSKRKeyURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://h/vault.azure.net/keys/k":       vaultResource,
		"https://m.managedhsm.azure.net/keys/k":  hsmResource,
		"https://openskr.local/keys/k":           "",
		"http://kv1.vault.azure.net/keys/k":      "",
		"ftp://kv1.managedhsm.azure.net:1/keys/": "",
	} {
		got, err := (&AttestSKR{KeyURL: url}).resource()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
}

func TestAttestSKRWithoutHost(t *testing.T) {
	client := &AttestSKR{MAA: "maa", TPM: softTPM{newRSA(t, 2048)}}
	if _, err := client.Release(t.Context()); err == nil {
		t.Error("an address without host was taken")
	}
	boom := errors.New("boom")
	client.Isolation = func() (Isolation, error) { return Isolation{}, boom }
	if _, err := client.Release(t.Context()); !errors.Is(err, boom) {
		t.Errorf("evidence that fails: %v", err)
	}
}

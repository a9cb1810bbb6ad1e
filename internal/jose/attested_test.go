package jose

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const attestedClaims = `{"iss":"urn:openskr:d1","aud":"d1","sub":"m","appid":"m","oid":"m","tid":"d1","jti":"j","iat":1800000000,"nbf":1800000000,"exp":1800000900,` +
	`"vault":"default","machine_generation":0,"attested_roles":[{"name":"r","generation":1}],"config":"00"}`

func expectAttested() Expect {
	w := expect()
	w.Type, w.MaxLife = TypeAttestedToken, 15*time.Minute
	return w
}

func (f *fixture) attested(t testing.TB, claims string) string {
	t.Helper()
	s, err := NewSigner(f.key, TypeAttestedToken)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestVerifyAttested(t *testing.T) {
	f := newFixture(t)
	good := f.attested(t, attestedClaims)
	c, err := VerifyAttested(good, f.keys, expectAttested())
	if err != nil || c.Subject != "m" || c.Vault != "default" || len(c.Roles) != 1 || c.Roles[0] != (AttestedState{"r", 1}) || c.Config != "00" {
		t.Fatalf("%+v, %v", c, err)
	}
	if TypeOf(good) != TypeAttestedToken {
		t.Errorf("typ %q", TypeOf(good))
	}
	if _, err := Verify(good, f.keys, expect()); !errors.Is(err, ErrToken) {
		t.Errorf("as a principal's: %v", err)
	}
	for name, change := range map[string][2]string{
		"no vault":        {`"vault":"default",`, ``},
		"empty vault":     {`"default"`, `""`},
		"no roles":        {`[{"name":"r","generation":1}]`, `[]`},
		"no config":       {`,"config":"00"`, ``},
		"generation":      {`"machine_generation":0`, `"machine_generation":-1`},
		"generation text": {`"machine_generation":0`, `"machine_generation":"0"`},
		"unknown member":  {`"config"`, `"x":1,"config"`},
		"member twice":    {`"config"`, `"config":"11","config"`},
		"role's member":   {`"generation":1`, `"generation":1,"role":"Key Vault Administrator"`},
		"expired":         {`1800000900`, `1800000000`},
		"lives too long":  {`1800000900`, `1800000901`},
		"another issuer":  {`urn:openskr:d1`, `urn:openskr:d2`},
		"audience":        {`"aud":"d1"`, `"aud":"d2"`},
		"a principal's":   {attestedClaims[strings.Index(attestedClaims, `,"vault"`) : len(attestedClaims)-1], ``},
	} {
		claims := strings.Replace(attestedClaims, change[0], change[1], 1)
		if claims == attestedClaims {
			t.Fatalf("%s: nothing replaced", name)
		}
		if _, err := VerifyAttested(f.attested(t, claims), f.keys, expectAttested()); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, token := range []string{"", "a.b.c", "..", strings.Repeat("a", MaxToken+1)} {
		if TypeOf(token) != "" {
			t.Errorf("%.16q has a typ", token)
		}
	}
}

func FuzzVerifyAttested(f *testing.F) {
	x := newFixture(f)
	f.Add(attestedClaims)
	f.Add(`{}`)
	f.Add(fmt.Sprintf(`{"a":%s}`, attestedClaims))
	f.Fuzz(func(t *testing.T, claims string) {
		c, err := VerifyAttested(x.attested(t, claims), x.keys, expectAttested())
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Fatal(err)
			}
			return
		}
		if c.Issuer != "urn:openskr:d1" || c.Subject == "" || c.Vault == "" || len(c.Roles) == 0 || c.Expires-c.Issued > 900 {
			t.Fatalf("%+v", c)
		}
	})
}

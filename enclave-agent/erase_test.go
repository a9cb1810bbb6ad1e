package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
)

func TestECDH(t *testing.T) {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		//lint:ignore SA1019 a short scalar, which nobody finds by chance
		k.D.SetInt64(7)
		//lint:ignore SA1019 its public half
		k.X, k.Y = c.ScalarBaseMult([]byte{7})
		want, err := k.ECDH()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ECDH(k); err != nil || !got.Equal(want) {
			t.Errorf("%s: another key: %v", c.Params().Name, err)
		}
	}
	k, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ECDH(k); err == nil {
		t.Error("P-224 is none of crypto/ecdh")
	}
}

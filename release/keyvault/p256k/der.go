package p256k

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
)

// ErrOther says that DER is no private key on this curve at all.
var ErrOther = errors.New("not a private key on secp256k1")

func oidPublicKey() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1} }
func oidCurve() asn1.ObjectIdentifier     { return asn1.ObjectIdentifier{1, 3, 132, 0, 10} }

// privateKeyInfo is PrivateKeyInfo of RFC 5208 §5, without attributes.
type privateKeyInfo struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

// ecPrivateKey is ECPrivateKey of RFC 5915 §3.
type ecPrivateKey struct {
	Version int
	Key     []byte
	Curve   asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	Public  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

// PKCS8 gives the key as DER PrivateKeyInfo, as openssl writes it. The caller clears it.
func (k *PrivateKey) PKCS8() ([]byte, error) {
	d := k.scalar.Serialize()
	defer clear(d)
	inner, err := asn1.Marshal(ecPrivateKey{Version: 1, Key: d, Public: asn1.BitString{Bytes: k.Public(), BitLength: 8 * (1 + 2*Size)}})
	defer clear(inner)
	if err != nil {
		return nil, err
	}
	curve, err := asn1.Marshal(oidCurve())
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(privateKeyInfo{Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidPublicKey(), Parameters: asn1.RawValue{FullBytes: curve}}, Key: inner})
}

// ParsePKCS8 reads what PKCS8 and openssl write. A key on another curve, one whose
// public point is not its own, and one with anything behind it are refused.
func ParsePKCS8(der []byte) (*PrivateKey, error) {
	var info privateKeyInfo
	var curve asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) != 0 || info.Version != 0 || !info.Algorithm.Algorithm.Equal(oidPublicKey()) {
		return nil, ErrOther
	}
	defer clear(info.Key)
	if rest, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &curve); err != nil || len(rest) != 0 || !curve.Equal(oidCurve()) {
		return nil, ErrOther
	}
	return parseEC(info.Key, curve)
}

// ParseSEC1 reads DER ECPrivateKey that names the curve, openssl's EC PRIVATE KEY.
func ParseSEC1(der []byte) (*PrivateKey, error) { return parseEC(der, nil) }

// parseEC reads ECPrivateKey. The curve is named there or, as outer, around it.
func parseEC(der []byte, outer asn1.ObjectIdentifier) (*PrivateKey, error) {
	var key ecPrivateKey
	if rest, err := asn1.Unmarshal(der, &key); err != nil || len(rest) != 0 || key.Version != 1 {
		return nil, ErrOther
	}
	defer clear(key.Key)
	if key.Curve == nil {
		key.Curve = outer
	}
	if !key.Curve.Equal(oidCurve()) {
		return nil, ErrOther
	}
	k, err := New(key.Key)
	if err != nil {
		return nil, err
	}
	if key.Public.BitLength != 0 && (key.Public.BitLength%8 != 0 || !bytes.Equal(key.Public.Bytes, k.Public())) {
		k.Clear()
		return nil, errors.New("public point does not belong to the private key on secp256k1")
	}
	return k, nil
}

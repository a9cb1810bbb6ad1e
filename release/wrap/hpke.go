package wrap

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
)

// suite is one row of the HPKE algorithms offered. The AEAD is AES-256-GCM in all
// of them; the KDF matches the KEM's strength.
type suite struct {
	enc     string
	kem     hpke.KEM
	kdf     hpke.KDF
	pubSize int
	encSize int  // of the encapsulated key in front of the ciphertext
	x25519  bool // the last 32 bytes of the public key are an X25519 u-coordinate
}

// suiteOf looks a KEM id up (RFC 9180 §7.1, draft-ietf-hpke-pq §6).
func suiteOf(kem uint16) (suite, bool) {
	switch kem {
	case 0x0010:
		return suite{EncHPKEP256, hpke.DHKEM(ecdh.P256()), hpke.HKDFSHA256(), 65, 65, false}, true
	case 0x0020:
		return suite{EncHPKEX25519, hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), 32, 32, true}, true
	case 0x0050:
		return suite{EncHPKEMLKEM768P256, hpke.MLKEM768P256(), hpke.HKDFSHA256(), 1249, 1153, false}, true
	case 0x647a:
		return suite{EncHPKEMLKEM768X25519, hpke.MLKEM768X25519(), hpke.HKDFSHA256(), 1216, 1120, true}, true
	case 0x0051:
		return suite{EncHPKEMLKEM1024P384, hpke.MLKEM1024P384(), hpke.HKDFSHA384(), 1665, 1665, false}, true
	}
	return suite{}, false
}

// parseKEM checks a KEM public key: length, points on the curve and not at
// infinity, uncompressed, ML-KEM coefficients below q (FIPS 203 §7.2), X25519
// canonical and not of low order.
func parseKEM(id uint16, pub []byte) (suite, hpke.PublicKey, error) {
	s, ok := suiteOf(id)
	if !ok {
		return s, nil, badKey("HPKE KEM %d is not offered", id)
	}
	if len(pub) != s.pubSize {
		return s, nil, badKey("%s public key of %d bytes, want %d", s.enc, len(pub), s.pubSize)
	}
	if s.x25519 {
		if err := checkX25519(pub[len(pub)-32:]); err != nil {
			return s, nil, badKey("%s: %w", s.enc, err)
		}
	}
	k, err := s.kem.NewPublicKey(pub)
	if err != nil {
		return s, nil, badKey("%s: %w", s.enc, err)
	}
	return s, k, nil
}

// checkX25519 refuses what RFC 7748 §5 would mask or reduce, and the points that
// give a shared secret of zero whatever the private key (RFC 7748 §6.1).
func checkX25519(u []byte) error {
	be := make([]byte, len(u))
	for i, c := range u {
		be[len(u)-1-i] = c
	}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	if new(big.Int).SetBytes(be).Cmp(p) >= 0 {
		return errors.New("X25519 coordinate is not reduced")
	}
	point, err := ecdh.X25519().NewPublicKey(u)
	if err != nil {
		return err
	}
	probe, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, err = probe.ECDH(point) // clamping clears the cofactor, so low order gives zero
	return err
}

func sealHPKE(pub hpke.PublicKey, info, aad, material []byte) ([]byte, error) {
	s, ok := suiteOf(pub.KEM().ID())
	if !ok {
		return nil, badKey("HPKE KEM %d is not offered", pub.KEM().ID())
	}
	enc, sender, err := hpke.NewSender(pub, s.kdf, hpke.AES256GCM(), info)
	if err != nil {
		return nil, fmt.Errorf("wrap: HPKE: %w", err)
	}
	ct, err := sender.Seal(aad, material)
	if err != nil {
		return nil, fmt.Errorf("wrap: HPKE: %w", err)
	}
	return append(enc, ct...), nil
}

// OpenHPKE opens enc ‖ ciphertext in base mode with the suite of sk's KEM: HKDF
// with SHA-256 (SHA-384 for ML-KEM-1024 with P-384) and AES-256-GCM, sequence
// number 0. info and aad must be those of the sender: receipt.WrapInfo and the leaf
// hash. Any private key of crypto/hpke works, also one whose ECDH happens in a TPM.
// The caller clears the result.
func OpenHPKE(sk hpke.PrivateKey, info, aad, sealed []byte) ([]byte, error) {
	s, ok := suiteOf(sk.KEM().ID())
	if !ok {
		return nil, badKey("HPKE KEM %d is not offered", sk.KEM().ID())
	}
	if len(sealed) <= s.encSize {
		return nil, fmt.Errorf("wrap: %s ciphertext of %d bytes is too short", s.enc, len(sealed))
	}
	r, err := hpke.NewRecipient(sealed[:s.encSize], sk, s.kdf, hpke.AES256GCM(), info)
	if err != nil {
		return nil, fmt.Errorf("wrap: HPKE: %w", err)
	}
	out, err := r.Open(aad, sealed[s.encSize:])
	if err != nil {
		return nil, fmt.Errorf("wrap: HPKE: %w", err)
	}
	return out, nil
}

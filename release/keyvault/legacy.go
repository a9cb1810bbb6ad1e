package keyvault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// What is here is off by default (docs/limits.md): whoever may send ciphertexts of
// its own choice to a server that says whether their padding is right can read what
// others encrypted (Bleichenbacher 1998, Vaudenay 2002). Where a vault turns it on,
// nothing but the result says how it went: no second error, no second length of time.

// maxPKCS1 is the longest plaintext of RSA1_5, in bytes (RFC 8017 §7.2.1).
func maxPKCS1(modulus int) int { return modulus - 11 }

// openPKCS1 decrypts RSA1_5 with implicit rejection: a ciphertext whose padding is
// wrong opens to bytes that nobody can predict, and always to the same ones, as those
// of a well-padded one would be. They are made before the padding is looked at. Only
// a ciphertext that is none, by its length or its size, is refused. The result is
// the caller's to clear.
func openPKCS1(k *rsa.PrivateKey, material, ciphertext []byte) ([]byte, error) {
	instead, err := substitute(material, ciphertext, maxPKCS1(k.Size()))
	if err != nil {
		return nil, failed(err)
	}
	if len(ciphertext) != k.Size() || bytes.Compare(ciphertext, k.N.Bytes()) >= 0 { // the public key says so
		return nil, errOpens()
	}
	//lint:ignore SA1019 clients of old have nothing else
	plain, err := rsa.DecryptPKCS1v15(nil, k, ciphertext)
	if err != nil {
		return instead, nil
	}
	return plain, nil
}

// substitute derives 0 to most bytes from a key and a ciphertext.
func substitute(material, ciphertext []byte, most int) ([]byte, error) {
	prk, err := hkdf.Extract(sha256.New, material, []byte("openskr/rsa1_5/v1"))
	if err != nil {
		return nil, err
	}
	okm, err := hkdf.Expand(sha256.New, prk, string(ciphertext), 8+most)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint64(okm) % uint64(most+1))
	return okm[8 : 8+n : 8+n], nil
}

// cbc is AES-CBC (SP 800-38A §6.2), with the padding of PKCS #7 where the algorithm
// says so. Nothing authenticates it.
func (a algorithm) cbc(key []byte, in Operation, out *Outcome) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return failed(err)
	}
	if in.Op == OpEncrypt {
		iv := bytes.Clone(in.IV)
		if len(iv) == 0 {
			iv = make([]byte, aes.BlockSize)
			rand.Read(iv)
		}
		buf := append(make([]byte, 0, len(in.Value)+aes.BlockSize), in.Value...) // a grown slice would leave the plaintext behind
		if a.family == cbcPad {
			n := aes.BlockSize - len(buf)%aes.BlockSize
			buf = append(buf, bytes.Repeat([]byte{byte(n)}, n)...)
		}
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(buf, buf)
		out.Value, out.IV = buf, iv
		return nil
	}
	if len(in.Value)%aes.BlockSize != 0 {
		return errOpens()
	}
	buf := bytes.Clone(in.Value)
	cipher.NewCBCDecrypter(block, in.IV).CryptBlocks(buf, buf)
	if a.family == cbc {
		out.Value = buf
		return nil
	}
	n, ok := unpad(buf)
	if ok != 1 {
		clear(buf)
		return errOpens()
	}
	out.Value = buf[:n:n]
	return nil
}

// unpad gives the length before the padding of PKCS #7 (RFC 5652 §6.3) of at least
// one block, and 1 when the padding is right, else 0. It reads every byte of the last
// block whatever is there, and decides nothing on the way.
func unpad(buf []byte) (n, ok int) {
	last := buf[len(buf)-aes.BlockSize:]
	pad := int(last[aes.BlockSize-1])
	ok = subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i, b := range last {
		inside := subtle.ConstantTimeLessOrEq(aes.BlockSize-pad, i)
		ok &= subtle.ConstantTimeSelect(inside, subtle.ConstantTimeByteEq(b, byte(pad)), 1)
	}
	return len(buf) - subtle.ConstantTimeSelect(ok, pad, 0), ok
}

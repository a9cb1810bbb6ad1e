package simulated

import (
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Where the paravisor leaves its things.
const (
	hclIndex    = tpm2.TPMHandle(0x01400001)
	akCertIndex = tpm2.TPMHandle(0x01c101d0)
	akHandle    = tpm2.TPMHandle(0x81000003)
	nvChunk     = 512
)

// Install puts into a software TPM what an Azure vTPM has: the AK at 0x81000003, an
// HCL report that names it and the certificate of it, in the place of what was there.
func (p *Platform) Install(t transport.TPM, o Options) (*Machine, error) {
	ak, err := persistAK(t)
	if err != nil {
		return nil, fmt.Errorf("simulated vTPM: AK: %w", err)
	}
	m, err := p.Report(ak, o)
	if err != nil {
		return nil, err
	}
	for index, b := range map[tpm2.TPMHandle][]byte{hclIndex: m.HCL, akCertIndex: m.AKCertificate} {
		if err := writeNV(t, index, b); err != nil {
			return nil, fmt.Errorf("simulated vTPM: NV index %#x: %w", uint32(index), err)
		}
	}
	return m, nil
}

func owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
}

// akTemplate is the AK of an Azure vTPM: RSA-2048, RSASSA with SHA-256, restricted.
func akTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		}),
	}
}

// persistAK makes the AK, or takes the one that stands there.
func persistAK(t transport.TPM) (key *rsa.PublicKey, err error) {
	if r, err := (tpm2.ReadPublic{ObjectHandle: akHandle}).Execute(t); err == nil {
		return rsaKey(r.OutPublic)
	}
	k, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(akTemplate()),
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	defer func() {
		_, ferr := tpm2.FlushContext{FlushHandle: k.ObjectHandle}.Execute(t)
		err = errors.Join(err, ferr)
	}()
	if _, err := (tpm2.EvictControl{
		Auth: owner(), ObjectHandle: &tpm2.NamedHandle{Handle: k.ObjectHandle, Name: k.Name}, PersistentHandle: akHandle,
	}).Execute(t); err != nil {
		return nil, err
	}
	return rsaKey(k.OutPublic)
}

func rsaKey(b tpm2.TPM2BPublic) (*rsa.PublicKey, error) {
	pub, err := b.Contents()
	if err != nil {
		return nil, err
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(*rsa.PublicKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("the key there is a %T", key)
}

// writeNV defines the index anew and writes b; without b there is no index.
func writeNV(t transport.TPM, index tpm2.TPMHandle, b []byte) error {
	if old, err := (tpm2.NVReadPublic{NVIndex: index}).Execute(t); err == nil {
		if _, err := (tpm2.NVUndefineSpace{
			AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: index, Name: old.NVName},
		}).Execute(t); err != nil {
			return err
		}
	}
	if len(b) == 0 {
		return nil
	}
	public := tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(b)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true},
	}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: owner(), PublicInfo: tpm2.New2B(public)}).Execute(t); err != nil {
		return err
	}
	for at := 0; at < len(b); at += nvChunk {
		defined, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t) // its name changes with the first write
		if err != nil {
			return err
		}
		if _, err := (tpm2.NVWrite{
			AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: index, Name: defined.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: b[at:min(at+nvChunk, len(b))]}, Offset: uint16(at),
		}).Execute(t); err != nil {
			return err
		}
	}
	return nil
}

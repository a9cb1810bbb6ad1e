package dcap

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
)

// The Intel SGX Root CA, from
// https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.pem
// SHA-256 of the DER:
// 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3
//
//go:embed intel-sgx-root-ca.pem
var intelRootPEM []byte

// IntelRoot is the Intel SGX Root CA, the one authority of all SGX and TDX hardware.
func IntelRoot() (*x509.Certificate, error) {
	block, _ := pem.Decode(intelRootPEM)
	if block == nil {
		return nil, errors.New("embedded Intel root is no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

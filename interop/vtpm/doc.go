// Package vtpm is the virtual TPM of a simulated Azure confidential machine, as
// AzureAttestSKR uses it: a software TPM (swtpm) into which `openskr simulate azure`
// puts what the paravisor of such a machine does.
package vtpm

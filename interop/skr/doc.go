// Package skr performs Secure Key Release as Microsoft's two clients do: the SKR
// sidecar of confidential containers ([Sidecar]) and AzureAttestSKR of confidential
// virtual machines ([AttestSKR]). Both are written from the wire specification alone
// and share no code with the broker, so that a misreading of the specification on one
// side shows on the other.
//
// They are strict where Microsoft's are strict and make the same demands of an answer;
// where the specification leaves a client's tolerance open they take the narrow side.
// They differ in what a test does not want: they never repeat a request, they follow
// no redirect, and they return what they saw along the way ([Released]).
//
// They are for tests. AttestSKR does not verify the signature of an answer, because
// the program it stands for does not: nobody should copy that.
package skr

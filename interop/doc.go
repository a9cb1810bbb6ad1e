// Package interop proves, with Azure's own clients as they are published, that
// a broker is what they expect. It is a module of its own: nothing that it
// imports comes near the product.
//
// "make interop" runs all of it. A part of it runs against a program that is built
// already with
//
//	OPENSKR=../bin/openskr go test -run TestPython .
//
// A test of a whole run notes every operation that it saw work, differ or be refused;
// at the end the notes are held against package compat, and docs/compatibility.md and
// docs/azure-cli.md against what happened. "go test -update ." writes these pages again.
// Names below localhost resolve for no client by themselves: package harness has a proxy
// for them that leads to the broker and to nobody else.
package interop

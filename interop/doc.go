// Package interop proves, with Azure's own clients as they are published, that
// a broker is what they expect. It is a module of its own: nothing that it
// imports comes near the product.
package interop

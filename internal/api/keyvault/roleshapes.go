package keyvault

import (
	"strings"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
)

// RoleAssignment is an assignment in Managed HSM's form.
type RoleAssignment struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties AssignmentProperties `json:"properties"`
}

// AssignmentProperties say who has which role where.
type AssignmentProperties struct {
	Scope     string `json:"scope"`
	Role      string `json:"roleDefinitionId"`
	Principal string `json:"principalId"`
}

// RoleDefinition is a role in Managed HSM's form.
type RoleDefinition struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties DefinitionProperties `json:"properties"`
}

// DefinitionProperties say what a role allows.
type DefinitionProperties struct {
	RoleName         string       `json:"roleName"`
	Description      string       `json:"description"`
	Type             string       `json:"type"`
	Permissions      []Permission `json:"permissions"`
	AssignableScopes []string     `json:"assignableScopes"`
}

// Permission lists data actions; the other members are always empty.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// roleAssignment is the body of PUT …/roleAssignments/{guid}.
type roleAssignment struct {
	Properties struct {
		Role      string `json:"roleDefinitionId"`
		Principal string `json:"principalId"`
	} `json:"properties"`
}

func shapeAssignment() *shape {
	return &shape{members: map[string]*shape{"properties": {members: leaves("roleDefinitionId", "principalId"), guarded: []string{"roleDefinitionId", "principalId"}}}}
}

// definitionPrefix is what Managed HSM has before the UUID of a role.
const definitionPrefix = "Microsoft.KeyVault" + pathDefinitions + "/"

func assignment(c *route.Call, h identity.Held) RoleAssignment {
	scope := shown(c, h.Scope)
	role, _ := identity.RoleNamed(h.Role)
	return RoleAssignment{
		ID: strings.TrimSuffix(scope, "/") + pathAssignments + "/" + h.ID, Name: h.ID, Type: "Microsoft.Authorization/roleAssignments",
		Properties: AssignmentProperties{Scope: scope, Role: definitionPrefix + role.ID, Principal: h.Principal},
	}
}

func definition(r identity.Role) RoleDefinition {
	return RoleDefinition{
		ID: definitionPrefix + r.ID, Name: r.ID, Type: "Microsoft.Authorization/roleDefinitions",
		Properties: DefinitionProperties{
			RoleName: r.Name, Description: r.Description, Type: "AKVBuiltInRole", AssignableScopes: scopesOf(r),
			Permissions: []Permission{{Actions: []string{}, NotActions: []string{}, DataActions: r.DataActions(), NotDataActions: []string{}}},
		},
	}
}

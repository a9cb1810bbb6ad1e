"""Prints a secret that the machine's managed identity may read: python managed_identity.py NAME"""

import os
import sys

from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

print(SecretClient(os.environ["OPENSKR_VAULT"], DefaultAzureCredential()).get_secret(sys.argv[1]).value)

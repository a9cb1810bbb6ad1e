"""Amazon S3 as moto plays it, which checks signatures and rights here, and its SDK for Python.

Serves on the loopback address until standard input ends. Prints the endpoint, then access key and
secret of a user who may do anything to the bucket; then obeys lines, and ends each answer with a dot:

    list             name, size, SHA-256 and metadata (JSON) of each object; - and the name of each
                     upload that was begun and neither completed nor aborted
    put NAME TEXT    stores a word
    cut NAME BYTES   leaves that many bytes of an object, with its metadata
"""

import hashlib
import json
import os
import sys
import urllib.parse

import boto3

BUCKET = "bucket"
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}*"}]}


def serve():
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"  # those that make the user; moto reads it once
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    at = {"endpoint_url": "http://{}:{}".format(*server.get_host_and_port()), "region_name": "us-east-1"}
    iam = boto3.client("iam", aws_access_key_id="any", aws_secret_access_key="any", **at)
    iam.create_user(UserName="writer")
    iam.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=json.dumps(ANYTHING))
    key = iam.create_access_key(UserName="writer")["AccessKey"]
    user = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    s3 = boto3.client("s3", **user, **at)
    s3.create_bucket(Bucket=BUCKET)
    print(at["endpoint_url"], *user.values(), flush=True)
    return s3


def show(s3):
    for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        found = s3.get_object(Bucket=BUCKET, Key=entry["Key"])
        data = found["Body"].read()
        metadata = {name: urllib.parse.unquote(value) for name, value in found["Metadata"].items()}
        print(entry["Key"], len(data), hashlib.sha256(data).hexdigest(), json.dumps(metadata))
    for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        print("-", upload["Key"])


def put(s3, name, text):
    s3.put_object(Bucket=BUCKET, Key=name, Body=text.encode())


def cut(s3, name, size):
    found = s3.get_object(Bucket=BUCKET, Key=name)
    s3.put_object(Bucket=BUCKET, Key=name, Body=found["Body"].read()[: int(size)], Metadata=found["Metadata"])


client = serve()
for line in sys.stdin:
    verb, *args = line.split()
    {"list": show, "put": put, "cut": cut}[verb](client, *args)
    print(".", flush=True)

"""Makes three requests on connections to an attested signer: for the test beside it.

requests_to_signer.py FOLDER_OF_MODULE URL ROOT NITRO_TOML
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True  # Leaves the checkout as it is.
folder, url, root, nitro_toml = sys.argv[1:]
sys.path.insert(0, folder)
from attested_client import Doubt, attest, pcrs_from_nitro_toml  # noqa: E402

HEADERS = {"content-type": "application/json", "x-internal-api-key": "the key of the API"}
signer = attest(url, [pcrs_from_nitro_toml(Path(nitro_toml).read_text())], Path(root).read_text())
connection = signer.connection()
for _ in range(2):
    try:
        connection.request("POST", "/internal/sign", b"{}", HEADERS)
        answer = connection.getresponse()
        answer.read()
        print("http.client", answer.status)
    except Doubt as doubt:
        print("http.client", doubt)
connection.close()

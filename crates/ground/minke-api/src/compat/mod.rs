//! What differs between API versions: pure functions from the newest form to an older one, and back for requests.

"""The archive: copies of assets that outlive Luma's URLs.

keeping    what surfaces use: finds and reads what is kept, and says what is missing
redirects  where readers are sent for what is not kept
copier     claims generations whose assets are to be copied, and makes the copies
download   downloads one asset, resumed where an earlier try broke off
throttle   lets copies give way to requests
staging    unfinished files
checksums  what servers say about the content of an asset
library    the folder or object store that keeps the files
assets     which assets a generation has, and what their files are called
"""

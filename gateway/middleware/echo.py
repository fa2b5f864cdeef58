"""C-ECHO (PS3.7 section 9.1.5): whether an SCP is alive."""


def echo(host: str, port: int, aet: str, timeout_s: float = 5.0) -> bool:
    """Whether ``aet`` at ``host``:``port`` answers a verification request within ``timeout_s``."""
    from gateway.middleware.intake import import_light

    import_light()
    from pynetdicom import AE  # after import_light

    ae = AE(ae_title="MPACS_ECHO")
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = timeout_s
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate(host, port, ae_title=aet)
    if not association.is_established:
        return False
    answer = association.send_c_echo()
    association.release()
    return "Status" in answer and answer.Status == 0x0000

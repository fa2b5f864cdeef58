"""What no script of the console's pages may do, for a page that tries."""

FORBIDDEN: dict[str, str] = {
    "an inline script": "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
                        "document.body.append(s);",
    "an event handler in an attribute": "document.body.innerHTML += '<img src=\"data:,\" onerror=\"window.ran = 1\">';",
    "a script from text": "try { window.ran = (0, eval)('1'); } catch {}",
    "a script of another origin": "const s = document.createElement('script'); s.src = 'https://127.0.0.1:1/x.js';"
                                  "document.body.append(s);",
    "a request to another origin": "fetch('https://127.0.0.1:1/').catch(() => {});",
    "a WebSocket to another origin": "try { new WebSocket('wss://127.0.0.1:1/mqtt'); } catch {}",
    "a picture of another origin": "document.body.append(Object.assign(new Image(), {src: 'https://127.0.0.1:1/x'}));",
    "a frame of another origin": "document.body.append(Object.assign(document.createElement('iframe'),"
                                 "{src: 'https://127.0.0.1:1/'}));",
    "an inline style": "document.body.innerHTML += '<p style=\"color: red\">x</p>';",
    "a base": "document.head.append(Object.assign(document.createElement('base'), {href: 'https://127.0.0.1:1/'}));",
    "an object": "document.body.append(Object.assign(document.createElement('object'), {data: '/install'}));",
}  # fmt: skip

_FUNCTIONS = ",".join(f"{what!r}: () => {{ {body} }}" for what, body in FORBIDDEN.items())
# Later, so that no debugger's leave to compile text is in force.
SCRIPT = f"window.attempt = what => setTimeout(() => ({{{_FUNCTIONS}}})[what]());"

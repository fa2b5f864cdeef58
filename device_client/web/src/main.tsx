import { render } from 'preact';
import { connect } from './connect';
import { App, NotStarted } from './ui/app';
import { followSettings } from './ui/look';
import { follow } from './ui/route';
import './styles/index.css';

// The enrolment code leaves the address bar before anything else happens.
follow();
const root = document.getElementById('app');
if (root) {
  connect().then(
    (api) => {
      followSettings(api);
      render(<App api={api} />, root);
    },
    (error: unknown) => render(<NotStarted error={error} />, root),
  );
}

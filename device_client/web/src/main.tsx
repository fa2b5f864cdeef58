import { render } from 'preact';
import { connect } from './connect';

const root = document.getElementById('app');
if (root) {
  void connect().then((api) => render(<p>{api.phase.value.name}</p>, root));
}

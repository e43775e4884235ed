// /login#TOKEN logs in by itself: what follows # is sent to no server, and leaves the address.
const form = document.forms[0], token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.secret.value = decodeURIComponent(token);
  form.submit();
}

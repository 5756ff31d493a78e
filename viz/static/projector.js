// Large type, the map and the text alone: by the button, by ?projector in the address; Escape ends it, too.
() => {
  const button = document.getElementById("projector");
  const show = (projecting) => {
    document.body.classList.toggle("projector", projecting);
    button.setAttribute("aria-pressed", projecting);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-pressed") !== "true"));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && show(false));
  show(new URLSearchParams(location.search).has("projector"));
}

// Theme of the surrounding Airflow page, and links to pages outside this frame, which it may not follow by itself.
(() => {
  "use strict";
  const airflow = window.parent !== window ? window.parent.document : null;
  const follow = () => {
    const chosen = airflow ? (airflow.documentElement.classList.contains("dark") ? "dark" : "light")
      : { dark: "dark", light: "light" }[localStorage.getItem("theme")];
    if (chosen) document.documentElement.dataset.theme = chosen;
  };
  follow();
  if (!airflow) return;
  new window.MutationObserver(follow).observe(airflow.documentElement, { attributeFilter: ["class"] });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow], a[data-outside]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const copy = airflow.createElement("a");
    copy.href = link.href;
    if (link.matches("[data-outside]")) Object.assign(copy, { target: "_blank", rel: "noopener noreferrer" });
    airflow.body.append(copy);
    copy.click();
    copy.remove();
  });
})();
